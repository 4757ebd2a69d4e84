"""The form of a request's arguments, checked against the operation table before the state machine sees them.

Types only: whether a path is legal or a version fits is the state machine's to say. MalformedError names the argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordserver.core.acl import ACL
from coordserver.core.errors import MalformedError, UnimplementedError
from coordserver.core.operations import OPERATIONS, Kind, Op

MULTI_OPERATIONS = frozenset({int(Op.CREATE), int(Op.DELETE), int(Op.SET_DATA), int(Op.CHECK)})
"""What may stand in a multi."""

_INT64_MAX = 2**63 - 1


def check_request(op: int, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments in the shape that `Engine.request` takes. Raises UnimplementedError or MalformedError."""
    names = _ARGUMENTS.get(op)
    if names is None:
        raise UnimplementedError(detail=f"operation {op}")
    return _check(op, names, arguments)


def _check(op: int, names: tuple[str, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) < len(names):
        raise MalformedError(detail=f"{Op(op).name.lower()}: argument {names[len(arguments)]} is missing")
    checked = []
    for name, value in zip(names, arguments, strict=False):
        try:
            checked.append(_CHECKS[name](value))
        except TypeError as error:
            raise MalformedError(detail=f"{Op(op).name.lower()}: {name}: {error}") from None
    return tuple(checked)


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def _data(value: Any) -> bytes | None:
    if value is not None and type(value) is not bytes:
        raise TypeError("neither bytes nor nil")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or value > _INT64_MAX:
        raise TypeError("not a 64-bit integer")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("not a bool")
    return value


def _acl(value: Any) -> tuple[ACL, ...] | None:
    if value is None:
        return None
    if type(value) is not tuple:
        raise TypeError("neither an array nor nil")
    return tuple(_acl_entry(entry) for entry in value)


def _acl_entry(value: Any) -> ACL:
    if type(value) is not tuple or len(value) < 3:
        raise TypeError("an entry is not [perms, scheme, id]")
    return ACL(_integer(value[0]), _string(value[1]), _string(value[2]))


def _operations(value: Any) -> tuple[tuple[int, tuple[Any, ...]], ...]:
    if type(value) is not tuple:
        raise TypeError("not an array")
    return tuple(_operation(entry) for entry in value)


def _operation(value: Any) -> tuple[int, tuple[Any, ...]]:
    if type(value) is not tuple or not value or type(value[0]) is not int:
        raise TypeError("an entry is not [operation, arguments...]")
    op = value[0]
    if op not in MULTI_OPERATIONS:
        raise TypeError(f"operation {op} cannot stand in a multi")
    return op, _check(op, _ARGUMENTS[op], value[1:])


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "path": _string,
    "prefix": _string,
    "data": _data,
    "acl": _acl,
    "mode": _integer,
    "ttl_ms": _integer,
    "version": _integer,
    "watch": _boolean,
    "kind": _integer,
    "since_zxid": _integer,
    "operations": _operations,
}

_ARGUMENTS: dict[int, tuple[str, ...]] = {
    op: row.arguments for op, row in OPERATIONS.items() if row.kind is not Kind.INTERNAL
}
