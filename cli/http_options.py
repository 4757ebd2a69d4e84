"""The options of a role's HTTP: by which names it is called, what a change needs, how many connections it bears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from druidroles.http.guard import HttpAccess

F = TypeVar("F", bound=Callable[..., Any])

_SECRET_BYTES = 64 * 1024


class CredentialsType(click.ParamType[str]):
    """USER:PASSWORD, or @FILE with that in it. Its faults never show the secret."""

    name = "user:password|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The credentials, or a usage error."""
        text = str(value)
        if text.startswith("@"):
            try:
                with Path(text[1:]).open("rb") as file:
                    text = file.read(_SECRET_BYTES).decode().strip()
            except (OSError, UnicodeError) as fault:
                why = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8"
                self.fail(f"{text[1:]}: {why}", param, ctx)
        user, colon, password = text.partition(":")
        if not user or not colon or not password:
            self.fail("not USER:PASSWORD", param, ctx)
        return text


def http_options(function: F) -> F:
    """Add the options; `http_access` and `http_limits` read them."""
    seconds = click.FloatRange(min=0.001)
    for option in reversed(
        (
            click.option(
                "--allowed-host",
                "allowed_hosts",
                multiple=True,
                help="A name by which clients call this process, beside addresses, localhost, the machine's name and "
                "--host; pages of that host may ask, too. Repeatable; * takes every name.",
            ),
            click.option(
                "--http-auth",
                "http_auth",
                type=CredentialsType(),
                envvar="COORD_HTTP_AUTH",
                help="What changes over HTTP need, and what roles show one another: USER:PASSWORD, or @FILE with that "
                "in it; the same for all roles. Default: changes need nothing. [env: COORD_HTTP_AUTH]",
            ),
            click.option(
                "--http-connections", type=click.IntRange(min=1), default=1024, show_default=True, help="At a time."
            ),
            click.option(
                "--http-connections-per-address",
                type=click.IntRange(min=1),
                default=512,
                show_default=True,
                help="Of these; where they are taken an idle one makes room.",
            ),
            click.option(
                "--http-first-request-timeout",
                type=seconds,
                default=10.0,
                show_default=True,
                help="Seconds from a connection to its first request.",
            ),
            click.option(
                "--http-idle-timeout",
                type=seconds,
                default=75.0,
                show_default=True,
                help="Seconds that a connection is kept without a request.",
            ),
            click.option(
                "--http-body-timeout",
                type=seconds,
                default=60.0,
                show_default=True,
                help="Seconds without a byte of a request's body.",
            ),
        )
    ):
        function = option(function)
    return function


def http_access(options: Mapping[str, Any]) -> HttpAccess:
    """Whom the options let in."""
    return HttpAccess(allowed_hosts=tuple(options["allowed_hosts"]), credentials=options["http_auth"])


def http_limits(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of HttpLimits."""
    return {
        "connections": options["http_connections"],
        "connections_per_address": options["http_connections_per_address"],
        "first_request_s": options["http_first_request_timeout"],
        "idle_s": options["http_idle_timeout"],
        "body_s": options["http_body_timeout"],
    }
