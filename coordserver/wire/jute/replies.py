"""Results of the core to reply records, and notifications (ZooKeeper.jute, module proto)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from coordserver.core.model.operations import CreateMode, Op
from coordserver.wire.jute.opcodes import AS_ZOOKEEPER, NOTIFICATION_XID
from coordserver.wire.jute.primitives import INT, NULL, ustring, vector

_REPLY = struct.Struct(">iiqi")
_REPLY_OF_STAT = struct.Struct(">iiqiqqqqiiiqiiq")
_REPLY_OF_STRING = struct.Struct(">iiqii")
_STAT = struct.Struct(">qqqqiiiqiiq")
_MULTI_HEADER = struct.Struct(">ibi")
_CONNECT = struct.Struct(">iiqi")
_EVENT = struct.Struct(">ii")

_PASSWORD_BYTES = 16
_SYNC_CONNECTED = 3
_MULTI_END = _MULTI_HEADER.pack(-1, 1, -1)
_ERROR_TYPE = -1
_NONE = INT.pack(0)

stat_bytes: Callable[..., bytes] = _STAT.pack
"""The eleven fields of a Stat, which is 68 bytes."""

Result = tuple[Any, ...]


def frame(xid: int, zxid: int, error: int, body: bytes = b"") -> bytes:
    """A reply with its length and header."""
    return _REPLY.pack(16 + len(body), xid, zxid, error) + body


def frame_of_stat(xid: int, zxid: int, stat: Sequence[int]) -> bytes:
    """The reply to what is answered by a Stat alone."""
    return _REPLY_OF_STAT.pack(84, xid, zxid, 0, *stat)


def frame_of_path(xid: int, zxid: int, path: str) -> bytes:
    """The reply to what is answered by a path alone, which is a legal one."""
    encoded = path.encode()
    length = len(encoded)
    return _REPLY_OF_STRING.pack(20 + length, xid, zxid, 0, length) + encoded


def connect_response(timeout_ms: int, session_id: int, password: bytes, read_only: bool | None) -> bytes:
    """The answer to a ConnectRequest; `read_only` is the server's mode, None if the client did not ask."""
    body = _CONNECT.pack(0, timeout_ms, session_id, len(password)) + password
    if read_only is not None:
        body += b"\x01" if read_only else b"\x00"
    return INT.pack(len(body)) + body


def session_refused(asked_read_only: bool) -> bytes:
    """There is no such session: timeout 0, which clients take for "expired"."""
    return connect_response(0, 0, bytes(_PASSWORD_BYTES), False if asked_read_only else None)


def notifications(zxid: int, events: Sequence[tuple[int, str]]) -> bytes:
    """Watcher events, each a frame of its own."""
    return b"".join(
        frame(NOTIFICATION_XID, zxid, 0, _EVENT.pack(kind, _SYNC_CONNECTED) + ustring(path)) for kind, path in events
    )


def _acl(entries: Sequence[tuple[int, str, str]]) -> bytes:
    return vector(INT.pack(perms) + ustring(scheme) + ustring(name) for perms, scheme, name in entries)


class SharedNames:
    """Encodes lists of names once for all who ask: of a znode that does not change the core gives the very same tuple.

    Tuples are known by identity, which holds while they are kept here. When there are too many bytes, all go.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._known: dict[int, tuple[tuple[str, ...], bytes]] = {}

    def encode(self, names: tuple[str, ...]) -> bytes:
        """A vector of strings."""
        known = self._known.get(id(names))
        if known is not None:
            return known[1]
        encoded = vector(map(ustring, names))
        if self._bytes + len(encoded) > self._most:
            self._known.clear()
            self._bytes = 0
        if len(encoded) <= self._most:
            self._bytes += len(encoded)
            self._known[id(names)] = names, encoded
        return encoded


_encoded_names = SharedNames(4 * 1024 * 1024).encode


def _children(result: Result) -> bytes:
    names: tuple[str, ...] = result[0]
    return _encoded_names(names) if names else _NONE


def _multi_read(result: Result) -> bytes:
    parts: list[bytes] = []
    for op, error, *fields in result[0]:
        if error:
            parts.append(_failed(error))
        else:
            parts += (_MULTI_HEADER.pack(op, 0, 0), ENCODERS[op](tuple(fields)))
    return b"".join((*parts, _MULTI_END))


def _failed(error: int) -> bytes:
    error = AS_ZOOKEEPER.get(error, error)
    return _MULTI_HEADER.pack(_ERROR_TYPE, 0, error) + INT.pack(error)


def multi(kinds: Sequence[int], results: Sequence[Result]) -> bytes:
    """MultiResponse. `kinds` are the result types of the operations (`result_kind`); a failed one has codes only."""
    if any(len(result) == 1 and result[0] != 0 for result in results):
        return b"".join((*(_failed(result[0]) for result in results), _MULTI_END))
    parts: list[bytes] = []
    for kind, result in zip(kinds, results, strict=True):
        parts += (_MULTI_HEADER.pack(kind, 0, 0), _IN_MULTI[kind](result[1:]))
    return b"".join((*parts, _MULTI_END))


def result_kind(op: int, arguments: Sequence[Any]) -> int:
    """The type under which a multi's operation is answered: whatever makes more than a plain znode as create2."""
    if op in (Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL):
        return int(Op.CREATE2)
    if op == Op.CREATE and arguments[3] == CreateMode.CONTAINER:
        return int(Op.CREATE2)
    return op


def _path_and_stat(result: Result) -> bytes:
    return ustring(result[0]) + stat_bytes(*result[1])


def _data_and_stat(result: Result) -> bytes:
    data: bytes | None = result[0]
    if data is None:
        return NULL + stat_bytes(*result[1])
    return INT.pack(len(data)) + data + stat_bytes(*result[1])


def _nothing(result: Result) -> bytes:
    return b""


def _stat(result: Result) -> bytes:
    return stat_bytes(*result[0])


_IN_MULTI: dict[int, Callable[[Result], bytes]] = {
    int(Op.CREATE): lambda result: ustring(result[0]),
    int(Op.CREATE2): _path_and_stat,
    int(Op.DELETE): _nothing,
    int(Op.CHECK): _nothing,
    int(Op.SET_DATA): _stat,
}

ENCODERS: dict[int, Callable[[Result], bytes]] = {
    int(Op.CREATE): lambda result: ustring(result[0]),
    int(Op.CREATE2): _path_and_stat,
    int(Op.CREATE_CONTAINER): _path_and_stat,
    int(Op.CREATE_TTL): _path_and_stat,
    int(Op.DELETE): _nothing,
    int(Op.EXISTS): _stat,
    int(Op.GET_DATA): _data_and_stat,
    int(Op.SET_DATA): _stat,
    int(Op.GET_ACL): lambda result: _acl(result[0]) + stat_bytes(*result[1]),
    int(Op.SET_ACL): _stat,
    int(Op.GET_CHILDREN): _children,
    int(Op.GET_CHILDREN2): lambda result: _children(result) + stat_bytes(*result[1]),
    int(Op.SYNC): lambda result: ustring(result[0]),
    int(Op.PING): _nothing,
    int(Op.MULTI_READ): _multi_read,
    int(Op.CHECK_WATCHES): _nothing,
    int(Op.REMOVE_WATCHES): _nothing,
    int(Op.SET_WATCHES): _nothing,
    int(Op.SET_WATCHES2): _nothing,
    int(Op.GET_EPHEMERALS): _children,
    int(Op.GET_ALL_CHILDREN_NUMBER): lambda result: INT.pack(result[0]),
    int(Op.ADD_WATCH): lambda result: INT.pack(0),
    int(Op.WHO_AM_I): lambda result: vector(ustring(scheme) + ustring(user) for scheme, user in result[0]),
    int(Op.CLOSE_SESSION): _nothing,
}
"""By operation; a multi is answered by `multi`, which needs to know its operations."""

NO_TOKEN = NULL
"""The body of a reply to sasl where no mechanism is configured."""
