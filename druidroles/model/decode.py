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
    if type(value) is dict or isinstance(value, Mapping):
        return value
    raise ModelError(f"{what} is not an object")


def _other(value: Any, key: str, kind: type, default: Any, required: bool) -> Any:
    """What a value that is not just of the type counts as. The getters look first: they are called a million times."""
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
    value: Any = obj.get(key)
    return value if type(value) is str else _other(value, key, str, None, True)


def opt_str(obj: Mapping[str, Any], key: str) -> str | None:
    """The string at `key`, or None where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is str else _other(value, key, str, None, False)


def need_int(obj: Mapping[str, Any], key: str) -> int:
    """The integer at `key`; raises ModelError if it is missing, null or something else."""
    value: Any = obj.get(key)
    return value if type(value) is int else _other(value, key, int, None, True)


def get_int(obj: Mapping[str, Any], key: str, default: int) -> int:
    """The integer at `key`, or `default` where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is int else _other(value, key, int, default, False)


def get_bool(obj: Mapping[str, Any], key: str, default: bool) -> bool:
    """The boolean at `key`, or `default` where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is bool else _other(value, key, bool, default, False)


def get_object(obj: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """The object at `key`, or None where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is dict else _other(value, key, dict, None, False)


def need_object(obj: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`; raises ModelError if it is missing, null or something else."""
    value: Any = obj.get(key)
    return value if type(value) is dict else _other(value, key, dict, None, True)


def get_list(obj: Mapping[str, Any], key: str) -> list[Any]:
    """The array at `key`, or an empty one where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is list else _other(value, key, list, [], False)
