"""The options by which a command is let in by a coordination server: TLS and credentials.

A secret is better not on a command line, which everybody on the machine can read: `--auth @FILE` reads it from a file,
and the environment may have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from coordserver.client import Auth, Tls

F = TypeVar("F", bound=Callable[..., Any])

_SECRET_BYTES = 64 * 1024


class AuthType(click.ParamType[Auth]):
    """digest:user:password, or @FILE with that in it. Its faults never show the secret."""

    name = "scheme:…|@file"
    envvar_list_splitter = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Auth:
        """The credentials, or a usage error."""
        if isinstance(value, Auth):
            return value
        try:
            return Auth.parse(_read(value.removeprefix("@")) if value.startswith("@") else value)
        except OSError as fault:
            self.fail(f"{value.removeprefix('@')}: {fault.strerror}", param, ctx)
        except UnicodeError:
            self.fail("credentials are not text in UTF-8", param, ctx)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


def _read(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(_SECRET_BYTES).decode()


class Access(NamedTuple):
    """What the options say."""

    tls: Tls | None
    auth: tuple[Auth, ...]


def access_options(tls: str = "--tls", auth: str = "--auth") -> Callable[[F], F]:
    """Add the options; those of TLS begin with `tls`. `access_of` reads them."""
    stem = "" if tls == "--tls" else tls.removeprefix("--") + "_"
    pem = click.Path(path_type=Path, dir_okay=False)
    ca, cert, key = (f"{tls}-{name}" for name in ("ca", "cert", "key"))

    def add(function: F) -> F:
        for option in reversed(
            (
                click.option(f"{tls}-tls" if stem else tls, "use_tls", is_flag=True, help="Speak TLS with the server."),
                click.option(ca, "tls_ca", type=pem, help="PEM file of whom to trust; without it the system's."),
                click.option(cert, "tls_cert", type=pem, help="PEM file of the certificate to show."),
                click.option(key, "tls_key", type=pem, help="Its key, if that is in another file."),
                click.option(
                    f"{tls}-check-hostname/--no-{tls.removeprefix('--')}-check-hostname",
                    "tls_check_hostname",
                    default=True,
                    help="Whether the server's certificate must be of the host that was asked for.",
                ),
                click.option(
                    auth,
                    "auth",
                    type=AuthType(),
                    multiple=True,
                    envvar="COORD_AUTH",
                    help="Credentials: digest:USER:PASSWORD, or @FILE with that in it. [env: COORD_AUTH]",
                ),
            )
        ):
            function = option(function)
        return function

    return add


def access_of(options: Mapping[str, Any]) -> Access:
    """The value of the options. TLS is spoken where any of its files is named. CredentialsError for a bad file."""
    ca, cert, key = options["tls_ca"], options["tls_cert"], options["tls_key"]
    tls = None
    if options["use_tls"] or ca or cert or key:
        tls = Tls(
            ca=_absolute(ca), cert=_absolute(cert), key=_absolute(key), check_hostname=options["tls_check_hostname"]
        )
        tls.context()
    return Access(tls, tuple(options["auth"]))


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
