"""Prep: what can be judged of a request without the state. What it refuses never reaches the log.

It checks form and limits in ZooKeeper's order of precedence, up to the point where the state is needed (mutations.py
goes on from there), settles the ACL with the connection's identities, and gives back the arguments of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coordserver.core.model import errors
from coordserver.core.model.access import fixup
from coordserver.core.model.acl import OPEN_ACL_UNSAFE
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import CONTAINER_MODES, RECORDED_AS, CreateMode, Op
from coordserver.core.model.paths import SYSTEM_PATHS, is_valid

MAX_TTL_MS = (1 << 40) - 1
"""The longest time to live, EphemeralType.TTL's."""

Arguments = tuple[Any, ...]
Identities = tuple[tuple[str, str], ...]

_TTL_MODES = frozenset({5, 6})
_ERROR = int(Op.ERROR)
_CREATE = int(Op.CREATE)


def _want(arguments: Sequence[Any], index: int, kinds: tuple[type, ...], name: str) -> Any:
    """The argument at `index`, which must be of one of `kinds`; a bool is no int here."""
    if len(arguments) <= index:
        raise errors.MalformedError("", f"{name}: missing")
    value = arguments[index]
    if type(value) not in kinds:
        raise errors.MalformedError("", f"{name}: {kinds[0].__name__} wanted")
    return value


_STR = (str,)
_INT = (int,)
_BOOL = (bool,)
_DATA = (bytes, type(None))
_LIST = (tuple, list)
_OPTIONAL_LIST = (tuple, list, type(None))


def _data(arguments: Sequence[Any], znode_bytes: int) -> bytes | None:
    data: bytes | None = _want(arguments, 1, _DATA, "data")
    if data is not None and len(data) > znode_bytes:
        raise errors.TooLargeError("", f"data: {len(data)} bytes, at most {znode_bytes}")
    return data


def _acl(
    value: Sequence[Any] | None, identities: Identities, path: str, limits: EngineLimits
) -> tuple[Any, ...] | None:
    """The settled ACL, None where it is open."""
    if value is None or value is OPEN_ACL_UNSAFE:
        return None
    _check_length(value, path, limits)
    for entry in value:
        if type(entry) not in _LIST and not isinstance(entry, tuple):
            raise errors.MalformedError(path, "acl: entries are arrays")
        for at, kinds, name in ((0, _INT, "acl perms"), (1, _STR, "acl scheme"), (2, _STR, "acl id")):
            _want(entry, at, kinds, name)
        if not -0x80000000 <= entry[0] <= 0x7FFFFFFF:
            raise errors.InvalidACLError(path, f"acl perms: {entry[0]} is not an int of 32 bits")
    settled = fixup(tuple((entry[0], entry[1], entry[2]) for entry in value), identities, path, x509=limits.x509)
    if settled is OPEN_ACL_UNSAFE:
        return None
    _check_length(settled, path, limits)  # an entry of scheme auth became one for each identity
    size = sum(
        len(scheme.encode("utf-8", "replace")) + len(name.encode("utf-8", "replace")) for _, scheme, name in settled
    )
    if size > limits.acl_bytes:
        raise errors.LimitExceededError(path, f"acl: {size} bytes of schemes and ids, at most {limits.acl_bytes}")
    return settled


def _check_length(acl: Sequence[Any], path: str, limits: EngineLimits) -> None:
    if len(acl) > limits.acl_entries:
        raise errors.LimitExceededError(path, f"acl: {len(acl)} entries, at most {limits.acl_entries}")


def _create(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    path: str
    data: bytes | None
    mode: int
    ttl_ms: int
    if len(arguments) == 5:  # nearly always: a plain znode, open to all, well formed, told at a third of the cost
        path, data, acl, mode, ttl_ms = arguments
        if (
            (acl is None or acl is OPEN_ACL_UNSAFE)
            and type(path) is str
            and type(mode) is type(ttl_ms) is int
            and 0 <= mode <= 4
            and ttl_ms <= 0
            and (data is None or (type(data) is bytes and len(data) <= limits.znode_bytes))
            and "/" in path
            and "\0" not in path
        ):
            return path, data, None, mode, 0
    path = _want(arguments, 0, _STR, "path")
    data = _data(arguments, limits.znode_bytes)
    acl = _want(arguments, 2, _OPTIONAL_LIST, "acl")
    mode = _want(arguments, 3, _INT, "mode")
    ttl_ms = _want(arguments, 4, _INT, "ttl_ms")
    if not 0 <= mode <= 6:
        raise errors.BadArgumentsError(path, f"mode {mode}")
    if mode in _TTL_MODES:
        if not 1 <= ttl_ms <= MAX_TTL_MS:
            raise errors.BadArgumentsError(path, f"ttl_ms {ttl_ms}")
    elif ttl_ms > 0:
        raise errors.BadArgumentsError(path, "ttl_ms without a TTL mode")
    else:
        ttl_ms = 0
    if "/" not in path or "\0" in path:
        raise errors.BadArgumentsError(path, "path")
    return path, data, None if acl is None else _acl(acl, identities, path, limits), mode, ttl_ms


def _create_container(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    """As _create; the mode is one of a container, or no flag at all."""
    mode: int = _want(arguments, 3, _INT, "mode")
    if mode not in CONTAINER_MODES:
        raise errors.BadArgumentsError(_want(arguments, 0, _STR, "path"), f"mode {mode}")
    prepared = _create((*arguments[:3], int(CreateMode.CONTAINER), *arguments[4:]), identities, limits)
    return (*prepared[:3], mode, prepared[4])


def _delete(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    path: str = _want(arguments, 0, _STR, "path")
    version: int = _want(arguments, 1, _INT, "version")
    if "/" not in path or "\0" in path or path in SYSTEM_PATHS:
        raise errors.BadArgumentsError(path, "path")
    return path, version


def _delete_tree(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    """The record says how many znodes it may delete, so that a replay deletes as many."""
    path: str = _want(arguments, 0, _STR, "path")
    if not is_valid(path) or path in SYSTEM_PATHS:
        raise errors.BadArgumentsError(path, "path")
    return path, limits.znodes_per_record


def _set_data(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    data: bytes | None
    if len(arguments) == 3:  # nearly always: all of it well formed, told at a third of the cost
        path, data, version = arguments
        if (
            type(path) is str
            and type(version) is int
            and (data is None or (type(data) is bytes and len(data) <= limits.znode_bytes))
            and is_valid(path)
        ):
            return path, data, version
    path = _want(arguments, 0, _STR, "path")
    data = _data(arguments, limits.znode_bytes)
    version = _want(arguments, 2, _INT, "version")
    if not is_valid(path):
        raise errors.BadArgumentsError(path, "path")
    return path, data, version


def _set_acl(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    path: str = _want(arguments, 0, _STR, "path")
    acl = _want(arguments, 1, _OPTIONAL_LIST, "acl")
    version: int = _want(arguments, 2, _INT, "version")
    if not is_valid(path):
        raise errors.BadArgumentsError(path, "path")
    return path, _acl(acl, identities, path, limits), version


def _check(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    path: str = _want(arguments, 0, _STR, "path")
    version: int = _want(arguments, 1, _INT, "version")
    if not is_valid(path):
        raise errors.BadArgumentsError(path, "path")
    return path, version


def _nothing(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    return ()


Preparation = Callable[[Sequence[Any], Identities, EngineLimits], Arguments]

_IN_MULTI: dict[int, Preparation] = {
    _CREATE: _create,
    int(Op.CREATE2): _create,
    int(Op.CREATE_CONTAINER): _create_container,
    int(Op.CREATE_TTL): _create,
    int(Op.DELETE): _delete,
    int(Op.SET_DATA): _set_data,
    int(Op.CHECK): _check,
}


_MODE_MAX: dict[int, int] = {
    _CREATE: 6,
    int(Op.CREATE2): 6,
    int(Op.CREATE_CONTAINER): int(CreateMode.CONTAINER_SEQUENTIAL),
    int(Op.CREATE_TTL): 6,
}


def _multi(arguments: Sequence[Any], identities: Identities, limits: EngineLimits) -> Arguments:
    """Each operation is judged on its own; a refused one goes into the record as an error, so that its turn decides.

    An operation that may not be in a multi, and a mode that does not exist, refuse the whole (ZooKeeper 3.9).
    """
    operations = _want(arguments, 0, _LIST, "operations")
    if len(operations) > limits.multi_operations:
        raise errors.LimitExceededError("", f"multi: {len(operations)} operations, at most {limits.multi_operations}")
    prepared: list[tuple[int, Arguments]] = []
    for item in operations:
        if type(item) not in _LIST:
            raise errors.MalformedError("", "operations: arrays wanted")
        op: int = _want(item, 0, _INT, "operation")
        preparation = _IN_MULTI.get(op)
        if preparation is None:
            raise errors.MarshallingError("", f"operation {op} in a multi")
        rest = item[1:]
        recorded = RECORDED_AS.get(op, op)
        if recorded == _CREATE and not 0 <= _want(rest, 3, _INT, "mode") <= _MODE_MAX[op]:
            raise errors.MarshallingError("", f"mode {rest[3]}")
        try:
            prepared.append((recorded, preparation(rest, identities, limits)))
        except (errors.BadArgumentsError, errors.InvalidACLError) as refusal:
            prepared.append((_ERROR, (int(refusal.code),)))
    return (tuple(prepared),)


PREPARE: dict[int, Preparation] = {
    _CREATE: _create,
    int(Op.CREATE2): _create,
    int(Op.CREATE_CONTAINER): _create_container,
    int(Op.CREATE_TTL): _create,
    int(Op.DELETE): _delete,
    int(Op.SET_DATA): _set_data,
    int(Op.SET_ACL): _set_acl,
    int(Op.MULTI): _multi,
    int(Op.CLOSE_SESSION): _nothing,
    int(Op.DELETE_TREE): _delete_tree,
}
"""By operation: arguments, identities, limits -> the record's arguments, or a KeeperError."""


def _path(arguments: Sequence[Any]) -> None:
    _want(arguments, 0, _STR, "path")


def _path_and_watch(arguments: Sequence[Any]) -> None:
    if len(arguments) >= 2 and type(arguments[0]) is str and type(arguments[1]) is bool:
        return
    _want(arguments, 0, _STR, "path")
    _want(arguments, 1, _BOOL, "watch")


def _path_and_kind(arguments: Sequence[Any]) -> None:
    _want(arguments, 0, _STR, "path")
    if not 1 <= _want(arguments, 1, _INT, "kind") <= 5:
        raise errors.MarshallingError("", f"kind {arguments[1]}")


def _set_watches(arguments: Sequence[Any]) -> None:
    _want(arguments, 0, _INT, "since_zxid")
    for index, name in enumerate(("data", "exist", "child", "persistent", "recursive"), 1):
        for path in _want(arguments, index, _LIST, name):
            if type(path) is not str:
                raise errors.MalformedError("", f"{name}: paths wanted")


def _multi_read(arguments: Sequence[Any]) -> None:
    for item in _want(arguments, 0, _LIST, "operations"):
        if type(item) not in _LIST or _want(item, 0, _INT, "operation") not in (Op.GET_DATA, Op.GET_CHILDREN):
            raise errors.MarshallingError("", "operations: reads wanted")
        _want(item, 1, _STR, "path")


def _add_watch(arguments: Sequence[Any]) -> None:
    _want(arguments, 0, _STR, "path")
    if not 0 <= _want(arguments, 1, _INT, "mode") <= 1:
        raise errors.MarshallingError("", f"mode {arguments[1]}")
    _want(arguments, 2, _INT, "since_zxid")


def _no_arguments(arguments: Sequence[Any]) -> None:
    pass


CHECK_READ: dict[int, Callable[[Sequence[Any]], None]] = {
    int(Op.EXISTS): _path_and_watch,
    int(Op.GET_DATA): _path_and_watch,
    int(Op.GET_CHILDREN): _path_and_watch,
    int(Op.GET_CHILDREN2): _path_and_watch,
    int(Op.SET_WATCHES): _set_watches,
    int(Op.SET_WATCHES2): _set_watches,
    int(Op.MULTI_READ): _multi_read,
    int(Op.GET_ACL): _path,
    int(Op.GET_EPHEMERALS): _path,
    int(Op.GET_ALL_CHILDREN_NUMBER): _path,
    int(Op.SYNC): _path,
    int(Op.PING): _no_arguments,
    int(Op.ADD_WATCH): _add_watch,
    int(Op.REMOVE_WATCHES): _path_and_kind,
    int(Op.CHECK_WATCHES): _path_and_kind,
    int(Op.WHO_AM_I): _no_arguments,
}
"""By operation: raises a KeeperError where the arguments of a read have not the right form."""


def ephemerals_in(op: int, arguments: Arguments) -> int:
    """How many ephemerals the prepared arguments of a write would create."""
    if op == _CREATE:
        return 1 if arguments[3] in (1, 3) else 0
    if op == Op.MULTI:
        return sum(ephemerals_in(sub_op, sub_arguments) for sub_op, sub_arguments in arguments[0])
    return 0
