"""Environment variables that begin with COORD_ and that nothing reads: they are misspelt settings, and are named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

import click

from druidroles.coordination.access import VARIABLE
from druidroles.lifeline import ENVIRONMENT_KEY

PREFIX = "COORD"
_OWN = frozenset({VARIABLE, ENVIRONMENT_KEY})
"""What processes of ours hand to their children."""

_SERVICE_LINK = re.compile(r"COORD(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")
_LINKED = re.compile(r"(tcp|udp|sctp)://")
_ALIKE = 0.75


def unknown_variables(root: click.Group, environment: Mapping[str, str]) -> str:
    """One line that names them, with what may have been meant; empty where there are none.

    What Kubernetes sets for a service whose name begins with `coord` is passed over.
    """
    asked = sorted(name for name in environment if name.startswith(f"{PREFIX}_") and name not in _OWN)
    if not asked:
        return ""
    known = set(_variables(root, click.Context(root), PREFIX))
    unknown = [name for name in asked if name not in known and not _is_service_link(name, environment[name])]
    return ", ".join(_shown(name, known) for name in unknown)


def _is_service_link(name: str, value: str) -> bool:
    return _SERVICE_LINK.fullmatch(name) is not None or (name.endswith("_PORT") and _LINKED.match(value) is not None)


def _shown(name: str, known: set[str]) -> str:
    alike = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return f"{name} (did you mean {alike[0]}?)" if alike else name


def _variables(command: click.Command, ctx: click.Context, prefix: str) -> Iterator[str]:
    for param in command.params:
        if isinstance(param, click.Option):
            yield f"{prefix}_{(param.name or '').upper()}"
            envvar = param.envvar
            yield from (envvar,) if isinstance(envvar, str) else envvar or ()
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None:
                yield from _variables(inner, ctx, f"{prefix}_{name.upper().replace('-', '_')}")
