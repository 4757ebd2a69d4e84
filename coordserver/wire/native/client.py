"""The native protocol as a client speaks it (docs/protocol.md): requests to bytes, bytes to replies and events.

Results come positional; `decode_result` gives them the types that their operation promises. Extra trailing elements are
ignored everywhere, so that an older client reads a newer server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from coordserver.core.model.acl import ACL, Identity
from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import OPERATIONS, Op
from coordserver.core.model.stat import Stat
from coordserver.wire.native.framing import FrameBuffer, Oversized, frame
from coordserver.wire.native.packing import MAX_REPLY_ARRAY, pack, unpack, unpack_prefix

MAGIC = "coord"
VERSION = 1
HANDSHAKE_BYTES = 4096
MAX_REPLY_BYTES = 256 * 1024 * 1024
"""The longest reply a client accepts (a znode with millions of children)."""


class ServerHello(NamedTuple):
    """The server's side of the handshake. `error` 0 means attached; otherwise the rest tells nothing."""

    error: int
    session_id: int
    password: bytes
    timeout_ms: int
    limits: Mapping[str, int]
    history_id: bytes
    zxid: int
    last_number: int
    attachment: int
    capabilities: tuple[str, ...]


class Reply(NamedTuple):
    """An answer. On success `fields` is the raw result (see `decode_result`), otherwise `detail` says more."""

    number: int
    zxid: int
    error: int
    fields: tuple[Any, ...]
    detail: str


class Events(NamedTuple):
    """What one zxid changed under this connection's watches: (EventKind number, path), in order."""

    zxid: int
    events: tuple[tuple[int, str], ...]


class SessionEnd(NamedTuple):
    """The server ended the attachment: -112 the session has expired, -118 another connection has it now."""

    zxid: int
    reason: int


Incoming = ServerHello | Reply | Events | SessionEnd


def encode_hello(
    *,
    session_id: int = 0,
    password: bytes = b"",
    timeout_ms: int,
    last_zxid: int = 0,
    history_id: bytes | None = None,
    name: str = "",
    capabilities: Sequence[str] = (),
) -> bytes:
    """The client's side of the handshake; session 0 opens a new one. Requests may follow at once."""
    return pack(
        (MAGIC, VERSION, tuple(capabilities), session_id, password, timeout_ms, last_zxid, history_id, name),
    )


def encode_request(number: int, op: int, acked: int, arguments: Sequence[Any]) -> bytes:
    """One request frame. Arguments follow the operation table; operations of a multi are `(op, *arguments)` each."""
    return frame(pack((number, int(op), acked, *arguments)))


class NativeDecoder:
    """Bytes from the server to its hello (once, first), then replies and events in order."""

    def __init__(self, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._frames = FrameBuffer(max_reply_bytes)
        self._greeting: bytearray | None = bytearray()

    def feed(self, data: bytes) -> list[Incoming]:
        """Everything that is complete now. Raises WireError if it is not the protocol."""
        out: list[Incoming] = []
        if self._greeting is not None:
            self._greeting += data
            found = unpack_prefix(self._greeting, HANDSHAKE_BYTES)
            if found is None:
                return out
            value, used = found
            out.append(_decode_hello(value))
            data = bytes(self._greeting[used:])
            self._greeting = None
        self._frames.feed(data)
        while (body := self._frames.next()) is not None:
            if isinstance(body, Oversized):
                raise WireError(f"reply of {body.length} bytes is over the limit of {self._frames.limit}")
            out.append(_decode_frame(unpack(body, MAX_REPLY_ARRAY)))
        return out


def _decode_hello(value: Any) -> ServerHello:
    match value:
        case (
            "coord",
            int(),
            tuple(capabilities),
            int(error),
            int(session),
            bytes(password),
            int(timeout),
            dict(limits),
            history,
            int(zxid),
            int(last_number),
            int(attachment),
            *_,
        ) if history is None or isinstance(history, bytes):
            known = {str(k): v for k, v in limits.items() if type(v) is int}
            names = tuple(str(name) for name in capabilities)
            return ServerHello(
                error, session, password, timeout, known, history or b"", zxid, last_number, attachment, names
            )
    raise WireError("the server's handshake is not of the native protocol")


def _decode_frame(value: Any) -> Incoming:
    if type(value) is tuple and len(value) > 3 and value[0] != -1 and value[2] == 0:  # nearly all: a good answer
        number, zxid = value[0], value[1]
        if type(number) is type(zxid) is int:
            return Reply(number, zxid, 0, value[3:], "")
    match value:
        case (-1, int(zxid), None, int(reason), *_):
            return SessionEnd(zxid, reason)
        case (-1, int(zxid), tuple(events), *_):
            return Events(zxid, tuple(_decode_event(event) for event in events))
        case (int(number), int(zxid), 0, *fields):
            return Reply(number, zxid, 0, tuple(fields), "")
        case (int(number), int(zxid), int(error), *rest):
            detail = rest[0] if rest and isinstance(rest[0], str) else ""
            return Reply(number, zxid, error, (), detail)
    raise WireError("a frame of the server is neither reply nor event")


def _decode_event(value: Any) -> tuple[int, str]:
    match value:
        case (int(kind), str(path), *_):
            return kind, path
    raise WireError("an event is not [kind, path]")


def decode_result(op: int, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """The result of a successful reply, typed as the operation table says: Stat, ACL, Identity, tuples of str.

    For a multi use `decode_multi`. Raises WireError if the fields do not fit.
    """
    checks = _RESULT_CHECKS[op]
    if len(fields) < len(checks):
        raise WireError(f"result of {Op(op).name} has {len(fields)} fields, not {len(checks)}")
    return tuple([check(value) for check, value in zip(checks, fields, strict=False)])


def decode_multi(ops: Sequence[int], fields: tuple[Any, ...]) -> tuple[tuple[int, tuple[Any, ...]], ...]:
    """For each operation of a multi `(code, result)`; the result is () unless the code is 0 and all succeeded."""
    results = fields[0] if fields else None
    if not isinstance(results, tuple) or len(results) != len(ops):
        raise WireError("results of a multi do not match its operations")
    failed = any(not isinstance(r, tuple) or not r or r[0] != 0 for r in results)
    out: list[tuple[int, tuple[Any, ...]]] = []
    for op, result in zip(ops, results, strict=True):
        match result:
            case (0, *rest) if not failed:
                out.append((0, decode_result(op, tuple(rest))))
            case (int(code), *_):
                out.append((code, ()))
            case _:
                raise WireError("a result of a multi is not an array with a code")
    return tuple(out)


_STAT_LENGTH = len(Stat._fields)
_ONLY_INT = {int}
_new = tuple.__new__  # half the time of the named tuple's own


def _stat(value: Any) -> Stat:
    known = value[:_STAT_LENGTH] if isinstance(value, tuple) else ()
    if len(known) < _STAT_LENGTH or set(map(type, known)) != _ONLY_INT:
        raise WireError("not a stat")
    return _new(Stat, known)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise WireError("not a string")
    return value


def _data(value: Any) -> bytes | None:
    if value is not None and not isinstance(value, bytes):
        raise WireError("not data")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
        raise WireError("not an array of strings")
    return value


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise WireError("not an int")
    return value


def _acl(value: Any) -> tuple[ACL, ...]:
    if not isinstance(value, tuple):
        raise WireError("not an ACL")
    entries: list[ACL] = []
    for entry in value:
        match entry:
            case (int(perms), str(scheme), str(name), *_):
                entries.append(ACL(perms, scheme, name))
            case _:
                raise WireError("not an ACL entry")
    return tuple(entries)


def _identities(value: Any) -> tuple[Identity, ...]:
    if not isinstance(value, tuple):
        raise WireError("not identities")
    entries: list[Identity] = []
    for entry in value:
        match entry:
            case (str(scheme), str(name), *_):
                entries.append(Identity(scheme, name))
            case _:
                raise WireError("not an identity")
    return tuple(entries)


_FIELD: dict[str, Callable[[Any], Any]] = {
    "path": _str,
    "stat": _stat,
    "data": _data,
    "acl": _acl,
    "children": _strings,
    "paths": _strings,
    "count": _int,
    "resumed": bool,
    "identities": _identities,
    "results": lambda value: value,
    "deleted": _int,
    "finished": bool,
}

_RESULT_CHECKS: dict[int, tuple[Callable[[Any], Any], ...]] = {
    op: tuple(_FIELD[name] for name in row.result.split(", ") if name) for op, row in OPERATIONS.items()
}
