"""Request records to the core's arguments (ZooKeeper.jute, module proto).

Each decoder takes the frame and the offset behind its RequestHeader and gives the arguments in the order of the
operation table; trailing bytes are ignored. What a null string means differs between operations, as it does in
ZooKeeper.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from coordserver.core.model.acl import OPEN_ACL_UNSAFE
from coordserver.core.model.operations import TTL_MODES, CreateMode, Op
from coordserver.wire.jute.opcodes import MULTI_END
from coordserver.wire.jute.primitives import (
    INT,
    RecordError,
    read_bool,
    read_buffer,
    read_int,
    read_long,
    read_ustring,
    read_vector,
    ustring,
    vector,
)

Arguments = tuple[Any, ...]
Decoder = Callable[[bytes, int], Arguments]

_MULTI_HEADER = struct.Struct(">ibi")
_int_at = INT.unpack_from
_NO_TTL = -1
_OPEN_BYTES = vector(INT.pack(perms) + ustring(scheme) + ustring(name) for perms, scheme, name in OPEN_ACL_UNSAFE)
"""How the ACL looks that nearly all znodes have."""
_CONTAINER_MODES = {
    CreateMode.PERSISTENT_SEQUENTIAL: CreateMode.CONTAINER_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL: CreateMode.CONTAINER_SEQUENTIAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL: CreateMode.CONTAINER_SEQUENTIAL,
}


class ConnectRequest(NamedTuple):
    """What a session begins with. `read_only` None: the client is older than the flag and gets none back."""

    protocol_version: int
    last_zxid: int
    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool | None


def decode_connect(body: bytes) -> ConnectRequest:
    """The first frame of a connection. Raises RecordError."""
    version, at = read_int(body, 0)
    last_zxid, at = read_long(body, at)
    timeout_ms, at = read_int(body, at)
    session_id, at = read_long(body, at)
    password, at = read_buffer(body, at)
    read_only = body[at] != 0 if at < len(body) else None
    return ConnectRequest(version, last_zxid, timeout_ms, session_id, password or b"", read_only)


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise RecordError(f"{name} is null")
    return value


def _path(body: bytes, at: int) -> tuple[str, int]:
    path, at = read_ustring(body, at)
    return _needed(path, "path"), at


def _acl_entry(body: bytes, at: int) -> tuple[tuple[int, str, str], int]:
    perms, at = read_int(body, at)
    scheme, at = read_ustring(body, at)
    name, at = read_ustring(body, at)
    if name is None and scheme in ("world", "digest"):
        raise RecordError(f"the id of an ACL entry of scheme {scheme} is null")
    return (perms, scheme or "", name or ""), at


def _acl(body: bytes, at: int) -> tuple[tuple[tuple[int, str, str], ...], int]:
    end = at + len(_OPEN_BYTES)
    if body[at:end] == _OPEN_BYTES:
        return OPEN_ACL_UNSAFE, end
    entries, at = read_vector(body, at, _acl_entry)
    return tuple(entries), at


def _create_fields(body: bytes, at: int) -> tuple[str, bytes | None, Any, int, int]:
    start = at + 4
    try:
        end = start + _int_at(body, at)[0]
        data_end = end + 4 + _int_at(body, end)[0]
        acl_end = data_end + len(_OPEN_BYTES)
        flags = _int_at(body, acl_end)[0]
        if start <= end and end + 4 <= data_end and body[data_end:acl_end] == _OPEN_BYTES:
            return body[start:end].decode(), body[end + 4 : data_end], OPEN_ACL_UNSAFE, flags, acl_end + 4
    except (struct.error, UnicodeDecodeError):
        pass  # what is unusual about it is found below
    path, at = _path(body, at)
    data, at = read_buffer(body, at)
    acl, at = _acl(body, at)
    flags, at = read_int(body, at)
    return path, data, acl, flags, at


def create(body: bytes, at: int) -> Arguments:
    """CreateRequest: no TTL in it."""
    path, data, acl, flags, _ = _create_fields(body, at)
    return path, data, acl, flags, _NO_TTL


def create_container(body: bytes, at: int) -> Arguments:
    """CreateRequest as createContainer: a container whatever the flags, sequential if they say so."""
    path, data, acl, flags, _ = _create_fields(body, at)
    return path, data, acl, _container_mode(flags), _NO_TTL


def _container_mode(flags: int) -> int:
    if not 0 <= flags <= 6:
        return flags
    return int(_CONTAINER_MODES.get(CreateMode(flags), CreateMode.CONTAINER))


def create_ttl(body: bytes, at: int) -> Arguments:
    """CreateTTLRequest."""
    path, data, acl, flags, at = _create_fields(body, at)
    ttl_ms, _ = read_long(body, at)
    return path, data, acl, flags, ttl_ms


def _create_ttl_in_multi(body: bytes, at: int) -> Arguments:
    """In a multi a createTTL without a TTL flag is a plain create, as in ZooKeeper."""
    path, data, acl, flags, ttl_ms = create_ttl(body, at)
    return path, data, acl, flags, ttl_ms if flags in TTL_MODES else _NO_TTL


def path_and_version(body: bytes, at: int) -> Arguments:
    """DeleteRequest, CheckVersionRequest."""
    path, at = _path(body, at)
    version, _ = read_int(body, at)
    return path, version


def path_and_watch(body: bytes, at: int) -> Arguments:
    """ExistsRequest, GetDataRequest, GetChildrenRequest, GetChildren2Request."""
    start = at + 4
    try:
        end = start + _int_at(body, at)[0]
        if start <= end < len(body):
            return body[start:end].decode(), body[end] != 0
    except (struct.error, UnicodeDecodeError):
        pass  # what is unusual about it is found below
    path, at = read_ustring(body, at)
    if path is None or at >= len(body):
        return _needed(path, "path"), read_bool(body, at)[0]
    return path, body[at] != 0


def set_data(body: bytes, at: int) -> Arguments:
    """SetDataRequest; a null path is an illegal one."""
    start = at + 4
    try:
        end = start + _int_at(body, at)[0]
        data_end = end + 4 + _int_at(body, end)[0]
        version = _int_at(body, data_end)[0]
        if start <= end and end + 4 <= data_end:
            return body[start:end].decode(), body[end + 4 : data_end], version
    except (struct.error, UnicodeDecodeError):
        pass  # what is unusual about it is found below
    path, at = read_ustring(body, at)
    data, at = read_buffer(body, at)
    return path or "", data, read_int(body, at)[0]


def set_acl(body: bytes, at: int) -> Arguments:
    """SetACLRequest; a null path is an illegal one."""
    path, at = read_ustring(body, at)
    acl, at = _acl(body, at)
    version, _ = read_int(body, at)
    return path or "", acl, version


def path_only(body: bytes, at: int) -> Arguments:
    """GetACLRequest, GetAllChildrenNumberRequest."""
    path, _ = _path(body, at)
    return (path,)


def any_path(body: bytes, at: int) -> Arguments:
    """SyncRequest, whose path is only echoed; GetEphemeralsRequest, where null is no prefix."""
    path, _ = read_ustring(body, at)
    return (path or "",)


def add_watch(body: bytes, at: int) -> Arguments:
    """AddWatchRequest; from now on."""
    path, at = _path(body, at)
    mode, _ = read_int(body, at)
    return path, mode, -1


def path_and_kind(body: bytes, at: int) -> Arguments:
    """CheckWatchesRequest, RemoveWatchesRequest."""
    path, at = _path(body, at)
    kind, _ = read_int(body, at)
    return path, kind


def _paths(body: bytes, at: int) -> tuple[tuple[str, ...], int]:
    paths, at = read_vector(body, at, _path)
    return tuple(paths), at


def set_watches(body: bytes, at: int) -> Arguments:
    """SetWatches: the zxid last seen; paths of data, exists and child watches."""
    since, at = read_long(body, at)
    data, at = _paths(body, at)
    exist, at = _paths(body, at)
    child, _ = _paths(body, at)
    return since, data, exist, child, (), ()


def set_watches2(body: bytes, at: int) -> Arguments:
    """SetWatches2: and of persistent and recursive ones."""
    since, at = read_long(body, at)
    data, at = _paths(body, at)
    exist, at = _paths(body, at)
    child, at = _paths(body, at)
    persistent, at = _paths(body, at)
    recursive, _ = _paths(body, at)
    return since, data, exist, child, persistent, recursive


def nothing(body: bytes, at: int) -> Arguments:
    """No record."""
    return ()


def multi(body: bytes, at: int) -> Arguments:
    """MultiOperationRecord -> ((op, arguments...), ...), each op as it came."""
    return (_operations(body, at, _IN_MULTI),)


def multi_read(body: bytes, at: int) -> Arguments:
    """The same with reads, whose watch flags are ignored."""
    return (tuple((op, path) for op, path, _ in _operations(body, at, _IN_MULTI_READ)),)


def _operations(body: bytes, at: int, known: dict[int, tuple[Decoder, int]]) -> tuple[Arguments, ...]:
    operations: list[Arguments] = []
    while True:
        try:
            op, done, _ = _MULTI_HEADER.unpack_from(body, at)
        except struct.error:
            raise RecordError(f"multi header missing at {at}") from None
        at += _MULTI_HEADER.size
        if done or op == MULTI_END:
            return tuple(operations)
        entry = known.get(op)
        if entry is None:
            raise RecordError(f"operation {op} in a multi")
        arguments = entry[0](body, at)
        at = _skip(body, at, entry[1])
        operations.append((op, *arguments))


# How the records of a multi end: one follows the other without a length, so each is measured by its shape.
_CREATE, _CREATE_TTL, _VERSION, _SET_DATA, _WATCH = range(5)


def _skip(body: bytes, at: int, shape: int) -> int:
    _, at = read_ustring(body, at)
    if shape == _VERSION:
        return at + 4
    if shape == _WATCH:
        return at + 1
    _, at = read_buffer(body, at)
    if shape == _SET_DATA:
        return at + 4
    _, at = _acl(body, at)
    return at + (4 if shape == _CREATE else 12)


_IN_MULTI: dict[int, tuple[Decoder, int]] = {
    int(Op.CREATE): (create, _CREATE),
    int(Op.CREATE2): (create, _CREATE),
    int(Op.CREATE_CONTAINER): (create_container, _CREATE),
    int(Op.CREATE_TTL): (_create_ttl_in_multi, _CREATE_TTL),
    int(Op.DELETE): (path_and_version, _VERSION),
    int(Op.CHECK): (path_and_version, _VERSION),
    int(Op.SET_DATA): (set_data, _SET_DATA),
}

_IN_MULTI_READ: dict[int, tuple[Decoder, int]] = {
    int(Op.GET_DATA): (path_and_watch, _WATCH),
    int(Op.GET_CHILDREN): (path_and_watch, _WATCH),
}

DECODERS: dict[int, Decoder] = {
    int(Op.CREATE): create,
    int(Op.CREATE2): create,
    int(Op.CREATE_CONTAINER): create_container,
    int(Op.CREATE_TTL): create_ttl,
    int(Op.DELETE): path_and_version,
    int(Op.EXISTS): path_and_watch,
    int(Op.GET_DATA): path_and_watch,
    int(Op.SET_DATA): set_data,
    int(Op.GET_ACL): path_only,
    int(Op.SET_ACL): set_acl,
    int(Op.GET_CHILDREN): path_and_watch,
    int(Op.GET_CHILDREN2): path_and_watch,
    int(Op.SYNC): any_path,
    int(Op.PING): nothing,
    int(Op.MULTI): multi,
    int(Op.MULTI_READ): multi_read,
    int(Op.CHECK_WATCHES): path_and_kind,
    int(Op.REMOVE_WATCHES): path_and_kind,
    int(Op.SET_WATCHES): set_watches,
    int(Op.SET_WATCHES2): set_watches2,
    int(Op.GET_EPHEMERALS): any_path,
    int(Op.GET_ALL_CHILDREN_NUMBER): path_only,
    int(Op.ADD_WATCH): add_watch,
    int(Op.WHO_AM_I): nothing,
    int(Op.CLOSE_SESSION): nothing,
}
"""By opcode, for what goes through the core; auth, sasl and reconfig are the connection's own."""
