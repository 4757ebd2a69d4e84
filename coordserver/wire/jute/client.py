"""ZooKeeper's protocol as a client speaks it: arguments to request records, reply records to results.

The mirror of requests.py and replies.py, in terms of the same operation table, so that whoever speaks it can ask either
kind of server the same things. Readers ignore trailing bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from coordserver.core.model.stat import Stat
from coordserver.wire.jute.primitives import (
    INT,
    LONG,
    RecordError,
    buffer,
    read_buffer,
    read_int,
    read_long,
    read_ustring,
    read_vector,
    ustring,
    vector,
)

_HEADER = struct.Struct(">ii")
_MULTI_HEADER = struct.Struct(">ibi")
_MULTI_END = _MULTI_HEADER.pack(-1, 1, -1)
_STAT = struct.Struct(">qqqqiiiqiiq")
_REPLY_HEADER = struct.Struct(">iqi")
_EVENT = struct.Struct(">ii")
_NULL_PASSWORD = bytes(16)


class ConnectResponse(NamedTuple):
    """The server's answer to the handshake. `timeout_ms` 0: there is no such session."""

    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool | None


class ReplyHeader(NamedTuple):
    """Which request is answered, the zxid that the answer knows, and its error."""

    xid: int
    zxid: int
    error: int


def frame(body: bytes) -> bytes:
    """A body with its length."""
    return INT.pack(len(body)) + body


def connect_request(
    *,
    last_zxid: int = 0,
    timeout_ms: int,
    session_id: int = 0,
    password: bytes = _NULL_PASSWORD,
    read_only: bool | None = False,
) -> bytes:
    """The first frame; without `read_only` (None) as clients before 3.4 send it."""
    body = INT.pack(0) + LONG.pack(last_zxid) + INT.pack(timeout_ms) + LONG.pack(session_id) + buffer(password)
    if read_only is not None:
        body += b"\x01" if read_only else b"\x00"
    return frame(body)


def decode_connect_response(body: bytes) -> ConnectResponse:
    """The answer to it. Raises RecordError."""
    _, at = read_int(body, 0)
    timeout_ms, at = read_int(body, at)
    session_id, at = read_long(body, at)
    password, at = read_buffer(body, at)
    return ConnectResponse(timeout_ms, session_id, password or b"", body[at] != 0 if at < len(body) else None)


def request(xid: int, op: int, arguments: Sequence[Any]) -> bytes:
    """One request frame."""
    return frame(_HEADER.pack(xid, op) + _REQUESTS[op](arguments))


def auth_request(xid: int, scheme: str, auth: bytes) -> bytes:
    """AuthPacket."""
    return frame(_HEADER.pack(xid, Op.AUTH) + INT.pack(0) + ustring(scheme) + buffer(auth))


def decode_reply_header(body: bytes) -> tuple[ReplyHeader, int]:
    """The header of any frame after the handshake, and where its record begins. Raises RecordError."""
    try:
        return ReplyHeader(*_REPLY_HEADER.unpack_from(body)), _REPLY_HEADER.size
    except struct.error:
        raise RecordError("a reply without its header") from None


def decode_event(body: bytes, at: int) -> tuple[int, str]:
    """WatcherEvent: (kind, path)."""
    try:
        kind, _ = _EVENT.unpack_from(body, at)
    except struct.error:
        raise RecordError("an event that is cut short") from None
    path, _ = read_ustring(body, at + _EVENT.size)
    return kind, path or ""


def decode_result(op: int, body: bytes, at: int) -> tuple[Any, ...]:
    """The fields of a successful reply. Raises RecordError."""
    return _RESULTS[op](body, at)[0]


# -- requests ---------------------------------------------------------------------------------------------------------


def _flag(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _acl(acl: Sequence[tuple[int, str, str]] | None) -> bytes:
    entries = OPEN_ACL_UNSAFE if acl is None else acl
    return vector(INT.pack(perms) + ustring(scheme) + ustring(name) for perms, scheme, name in entries)


def _create(arguments: Sequence[Any]) -> bytes:
    path, data, acl, mode = arguments[:4]
    return ustring(path) + buffer(data) + _acl(acl) + INT.pack(mode)


def _create_ttl(arguments: Sequence[Any]) -> bytes:
    return _create(arguments) + LONG.pack(arguments[4])


def _path_and_version(arguments: Sequence[Any]) -> bytes:
    return ustring(arguments[0]) + INT.pack(arguments[1])


def _path_and_watch(arguments: Sequence[Any]) -> bytes:
    return ustring(arguments[0]) + _flag(arguments[1])


def _set_data(arguments: Sequence[Any]) -> bytes:
    return ustring(arguments[0]) + buffer(arguments[1]) + INT.pack(arguments[2])


def _set_acl(arguments: Sequence[Any]) -> bytes:
    return ustring(arguments[0]) + _acl(arguments[1]) + INT.pack(arguments[2])


def _path(arguments: Sequence[Any]) -> bytes:
    return ustring(arguments[0])


def _nothing(arguments: Sequence[Any]) -> bytes:
    return b""


def _multi(arguments: Sequence[Any]) -> bytes:
    parts = [_MULTI_HEADER.pack(part[0], 0, -1) + _REQUESTS[part[0]](part[1:]) for part in arguments[0]]
    return b"".join((*parts, _MULTI_END))


def _set_watches(arguments: Sequence[Any]) -> bytes:
    return LONG.pack(arguments[0]) + b"".join(vector(map(ustring, paths)) for paths in arguments[1:4])


def _set_watches2(arguments: Sequence[Any]) -> bytes:
    return LONG.pack(arguments[0]) + b"".join(vector(map(ustring, paths)) for paths in arguments[1:6])


_REQUESTS: dict[int, Callable[[Sequence[Any]], bytes]] = {
    int(Op.CREATE): _create,
    int(Op.CREATE2): _create,
    int(Op.CREATE_CONTAINER): _create,
    int(Op.CREATE_TTL): _create_ttl,
    int(Op.DELETE): _path_and_version,
    int(Op.CHECK): _path_and_version,
    int(Op.EXISTS): _path_and_watch,
    int(Op.GET_DATA): _path_and_watch,
    int(Op.GET_CHILDREN): _path_and_watch,
    int(Op.GET_CHILDREN2): _path_and_watch,
    int(Op.SET_DATA): _set_data,
    int(Op.GET_ACL): _path,
    int(Op.SET_ACL): _set_acl,
    int(Op.SYNC): _path,
    int(Op.PING): _nothing,
    int(Op.MULTI): _multi,
    int(Op.MULTI_READ): _multi,
    int(Op.CHECK_WATCHES): _path_and_version,
    int(Op.REMOVE_WATCHES): _path_and_version,
    int(Op.SET_WATCHES): _set_watches,
    int(Op.SET_WATCHES2): _set_watches2,
    int(Op.GET_EPHEMERALS): _path,
    int(Op.GET_ALL_CHILDREN_NUMBER): _path,
    int(Op.ADD_WATCH): _path_and_version,
    int(Op.WHO_AM_I): _nothing,
    int(Op.CLOSE_SESSION): _nothing,
}


# -- replies ----------------------------------------------------------------------------------------------------------

Read = tuple[tuple[Any, ...], int]


def _read_stat(body: bytes, at: int) -> tuple[Stat, int]:
    try:
        return Stat(*_STAT.unpack_from(body, at)), at + _STAT.size
    except struct.error:
        raise RecordError(f"stat missing at {at}") from None


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    text, at = read_ustring(body, at)
    return text or "", at


def _read_acl_entry(body: bytes, at: int) -> tuple[ACL, int]:
    perms, at = read_int(body, at)
    scheme, at = _read_text(body, at)
    name, at = _read_text(body, at)
    return ACL(perms, scheme, name), at


def _read_identity(body: bytes, at: int) -> tuple[Identity, int]:
    scheme, at = _read_text(body, at)
    user, at = _read_text(body, at)
    return Identity(scheme, user), at


def _result_path(body: bytes, at: int) -> Read:
    path, at = _read_text(body, at)
    return (path,), at


def _result_path_stat(body: bytes, at: int) -> Read:
    path, at = _read_text(body, at)
    stat, at = _read_stat(body, at)
    return (path, stat), at


def _result_nothing(body: bytes, at: int) -> Read:
    return (), at


def _result_stat(body: bytes, at: int) -> Read:
    stat, at = _read_stat(body, at)
    return (stat,), at


def _result_data(body: bytes, at: int) -> Read:
    data, at = read_buffer(body, at)
    stat, at = _read_stat(body, at)
    return (data, stat), at


def _result_acl(body: bytes, at: int) -> Read:
    acl, at = read_vector(body, at, _read_acl_entry)
    stat, at = _read_stat(body, at)
    return (tuple(acl), stat), at


def _result_paths(body: bytes, at: int) -> Read:
    names, at = read_vector(body, at, _read_text)
    return (tuple(names),), at


def _result_children_stat(body: bytes, at: int) -> Read:
    (names,), at = _result_paths(body, at)
    stat, at = _read_stat(body, at)
    return (names, stat), at


def _result_int(body: bytes, at: int) -> Read:
    value, at = read_int(body, at)
    return (value,), at


def _result_identities(body: bytes, at: int) -> Read:
    identities, at = read_vector(body, at, _read_identity)
    return (tuple(identities),), at


def _result_multi(body: bytes, at: int) -> Read:
    """(((type, error, fields...), ...),): type -1 for a failed operation."""
    results: list[tuple[Any, ...]] = []
    while True:
        try:
            kind, done, error = _MULTI_HEADER.unpack_from(body, at)
        except struct.error:
            raise RecordError(f"multi header missing at {at}") from None
        at += _MULTI_HEADER.size
        if done:
            return (tuple(results),), at
        if kind == -1:
            error, at = read_int(body, at)
            results.append((kind, error))
        elif kind in _RESULTS:
            fields, at = _RESULTS[kind](body, at)
            results.append((kind, error, *fields))
        else:
            raise WireError(f"a result of type {kind} in a multi")


_RESULTS: dict[int, Callable[[bytes, int], Read]] = {
    int(Op.CREATE): _result_path,
    int(Op.CREATE2): _result_path_stat,
    int(Op.CREATE_CONTAINER): _result_path_stat,
    int(Op.CREATE_TTL): _result_path_stat,
    int(Op.DELETE): _result_nothing,
    int(Op.CHECK): _result_nothing,
    int(Op.EXISTS): _result_stat,
    int(Op.GET_DATA): _result_data,
    int(Op.SET_DATA): _result_stat,
    int(Op.GET_ACL): _result_acl,
    int(Op.SET_ACL): _result_stat,
    int(Op.GET_CHILDREN): _result_paths,
    int(Op.GET_CHILDREN2): _result_children_stat,
    int(Op.SYNC): _result_path,
    int(Op.PING): _result_nothing,
    int(Op.MULTI): _result_multi,
    int(Op.MULTI_READ): _result_multi,
    int(Op.CHECK_WATCHES): _result_nothing,
    int(Op.REMOVE_WATCHES): _result_nothing,
    int(Op.SET_WATCHES): _result_nothing,
    int(Op.SET_WATCHES2): _result_nothing,
    int(Op.GET_EPHEMERALS): _result_paths,
    int(Op.GET_ALL_CHILDREN_NUMBER): _result_int,
    int(Op.ADD_WATCH): _result_nothing,
    int(Op.WHO_AM_I): _result_identities,
    int(Op.CLOSE_SESSION): _result_nothing,
}
