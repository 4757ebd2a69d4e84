"""The types of values in a TOML file, held against those of the options that they become.

click converts what it can, and so would take 1.5 for 1, true for 1, and the letters of a text for a list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import click


def typed(command: click.Command, ctx: click.Context, table: dict[str, Any], prefix: str, faults: list[str]) -> Any:
    """The table, with what stands alone made a list where the option takes several. Adds to `faults`."""
    params = {param.name: param for param in command.params}
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = command.get_command(ctx, key) if isinstance(command, click.Group) else None
        if inner is not None and isinstance(value, dict):
            found[key] = typed(inner, ctx, value, f"{prefix}{key}.", faults)
            continue
        found[key] = value
        param = params.get(key)
        if param is not None:
            several = value if isinstance(value, list) else [value]
            if param.multiple:
                found[key] = several
            why = _wrong(param, value, several)
            if why:
                faults.append(f"{prefix}{key}: {why}")
    return found


def _wrong(param: click.Parameter, value: Any, several: list[Any]) -> str:
    """What is wrong with a value's type; empty where nothing is."""
    if isinstance(value, list) and not param.multiple:
        return "a list, where one value is expected"
    return next((why for one in several for why in _faults(param.type, one)), "")


def _faults(kind: click.ParamType[Any], value: Any) -> Iterator[str]:
    expected = _expected(kind)
    if not isinstance(value, str | int | float):
        yield f"{_named(value)}, where {expected} is expected"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{value} is not {expected}"
    elif value == "" and isinstance(kind, click.types.BoolParamType):
        yield f"empty, where {expected} is expected"
    elif isinstance(value, str):
        return  # click reads it as it would a flag's
    elif isinstance(kind, click.types.BoolParamType):
        if not isinstance(value, bool):
            yield f"a number, where {expected} is expected"
    elif isinstance(value, bool):
        yield f"a boolean, where {expected} is expected"
    elif isinstance(kind, click.types.IntParamType):
        if isinstance(value, float):
            yield f"{value} is not {expected}"
    elif not isinstance(kind, click.types.FloatParamType | click.types.IntParamType) and not _takes_numbers(kind):
        yield f"a number, where {expected} is expected"  # which is not shown: it may be a password


def _takes_numbers(kind: click.ParamType[Any]) -> bool:
    """Types of ours that read a number by themselves say so."""
    return bool(getattr(kind, "takes_numbers", False))


def _expected(kind: click.ParamType[Any]) -> str:
    if isinstance(kind, click.types.BoolParamType):
        return "true or false"
    if isinstance(kind, click.types.IntParamType):
        return "a whole number"
    if isinstance(kind, click.types.FloatParamType):
        return "a number"
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(repr, kind.choices))}"
    name = kind.name.upper()
    return "text in quotes" if name == "TEXT" else f"{name} in quotes"


def _named(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else "a date or time"
