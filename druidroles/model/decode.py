"""Typed reading of decoded JSON, with one error that names the field at fault.

Everything the roles read from the tree, the metadata store or HTTP was written by somebody else. Each getter below
either returns a value of the promised type or raises `ModelError` with the field's name, so that a reader can report
the whole thing as garbage in one place and go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPE_NAMES = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object", list: "an array"}


class ModelError(ValueError):
    """A payload is not what its type promises; the text names the field and what it should be."""


def as_object(value: Any, what: str) -> Mapping[str, Any]:
    """`value` if it is a JSON object; raises ModelError naming `what` otherwise."""
    if not isinstance(value, Mapping):
        raise ModelError(f"{what} is not an object")
    return value


def _typed(obj: Mapping[str, Any], key: str, kind: type, default: Any, required: bool) -> Any:
    value = obj.get(key)
    if value is None:
        if required:
            raise ModelError(f"{key} is missing")
        return default
    # bool is a subclass of int in Python and not in JSON.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelError(f"{key} is not {_TYPE_NAMES[kind]}")
    return value


def need_str(obj: Mapping[str, Any], key: str) -> str:
    """The string at `key`; raises ModelError if it is missing, null or something else."""
    value: str = _typed(obj, key, str, None, True)
    return value


def opt_str(obj: Mapping[str, Any], key: str) -> str | None:
    """The string at `key`, or None where it is missing or null."""
    value: str | None = _typed(obj, key, str, None, False)
    return value


def need_int(obj: Mapping[str, Any], key: str) -> int:
    """The integer at `key`; raises ModelError if it is missing, null or something else."""
    value: int = _typed(obj, key, int, None, True)
    return value


def get_int(obj: Mapping[str, Any], key: str, default: int) -> int:
    """The integer at `key`, or `default` where it is missing or null."""
    value: int = _typed(obj, key, int, default, False)
    return value


def get_bool(obj: Mapping[str, Any], key: str, default: bool) -> bool:
    """The boolean at `key`, or `default` where it is missing or null."""
    value: bool = _typed(obj, key, bool, default, False)
    return value


def get_object(obj: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """The object at `key`, or None where it is missing or null."""
    value: dict[str, Any] | None = _typed(obj, key, dict, None, False)
    return value


def need_object(obj: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`; raises ModelError if it is missing, null or something else."""
    value: dict[str, Any] = _typed(obj, key, dict, None, True)
    return value


def get_list(obj: Mapping[str, Any], key: str) -> list[Any]:
    """The array at `key`, or an empty one where it is missing or null."""
    value: list[Any] = _typed(obj, key, list, [], False)
    return value
