"""The codec of ZooKeeper's protocol (jute), for Apache ZooKeeper 3.6 and newer.

`coordserver.wire.jute.client` encodes and decodes the bytes. The protocol differs from the native one in these points:

- The server does not recognise a repeated write, so the client does not resend writes after a lost connection.
- The server cannot replay the events that a watch missed, so add_watch never counts as resumed.
- Events have zxid -1 here, although newer servers send a zxid. The events of one change arrive in separate messages,
  and with a zxid the second one would be taken for one that was already delivered.
- Pings and auth requests have fixed xids, and their replies may overtake other replies. The codec holds such a reply
  until the earlier replies have arrived.
- Up to 3.8 a connection has one watch for a path, with the mode of the last add_watch. If the client needs both modes,
  the codec asks for the recursive one. When that watch reports the creation or deletion of a child, the codec adds the
  event for the change of the parent's children. A server with both watches may report that change a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from coordserver.client.codec import Events, Hello, Message, Reply, Welcome
from coordserver.core.model.errors import ErrorCode, WireError
from coordserver.core.model.operations import TTL_MODES, CreateMode, EventKind, Op, WatchMode
from coordserver.core.model.paths import parent_of
from coordserver.wire.jute import client as records
from coordserver.wire.jute.opcodes import AUTH_XID, NOTIFICATION_XID, PING_XID
from coordserver.wire.native.framing import FrameBuffer, Oversized

MAX_REPLY_BYTES = 256 * 1024 * 1024

_FRAME_BYTES = 1_048_575  # ZooKeeper's default of jute.maxbuffer
_OUTSTANDING = 1000  # ZooKeeper's default of globalOutstandingLimit
_XIDS = 0x7FFF_FFFF
_ANY = 3  # WatcherType.ANY, because 3.8 has no watcher types for persistent watches
_MODE_OF_KIND = {4: WatchMode.PERSISTENT, 5: WatchMode.PERSISTENT_RECURSIVE}
_OWN_XIDS = {int(Op.PING): PING_XID, int(Op.AUTH): AUTH_XID}
_CHILD_EVENTS = (EventKind.CREATED, EventKind.DELETED)
_NO_SESSION = Welcome(int(ErrorCode.SESSION_EXPIRED), 0, b"", 0, 1, _FRAME_BYTES, None, 0, 0)


class _PendingRequest:
    """A request under way. `reply` is set if its reply overtook an earlier one."""

    __slots__ = ("number", "reply", "xid")

    def __init__(self, number: int, xid: int) -> None:
        self.number = number
        self.xid = xid
        self.reply: Reply | None = None


class JuteCodec:
    """The Codec of one connection to a ZooKeeper server."""

    def __init__(self) -> None:
        self._frames = FrameBuffer(MAX_REPLY_BYTES)
        self._welcomed = False
        self._pending: deque[_PendingRequest] = deque()
        self._modes: dict[str, set[WatchMode]] = {}
        self._had_both: set[str] = set()  # the watched paths that have or had watches of both modes

    @property
    def resends_writes(self) -> bool:
        return False

    def hello(self, hello: Hello) -> bytes:
        return records.connect_request(
            last_zxid=hello.last_zxid,
            timeout_ms=hello.timeout_ms,
            session_id=hello.session_id,
            password=hello.password or bytes(16),
        )

    def request(self, number: int, op: int, acked: int, args: Sequence[Any]) -> bytes:
        xid = _OWN_XIDS.get(op) or (number - 1) % _XIDS + 1
        if op == Op.AUTH:
            frame = records.auth_request(xid, *args)
        else:
            frame = records.request(xid, *self._to_zookeeper(op, args))
        if len(frame) <= _FRAME_BYTES:  # the session does not send a longer one
            self._pending.append(_PendingRequest(number, xid))
        return frame

    def result(self, op: int, args: Sequence[Any], fields: tuple[Any, ...]) -> tuple[Any, ...]:
        body, at = fields
        if op == Op.ADD_WATCH:
            return (False,)  # the watch was not resumed
        if op in (Op.REMOVE_WATCHES, Op.AUTH):
            return ()
        if op == Op.MULTI:
            return _to_multi_result(len(args[0]), *records.decode_result(op, body, at))
        return records.decode_result(Op.CREATE2 if op == Op.CREATE else op, body, at)

    def receive(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        self._frames.feed(data)
        while (body := self._frames.next()) is not None:
            if isinstance(body, Oversized):
                raise WireError(f"reply of {body.length} bytes is over the limit of {MAX_REPLY_BYTES}")
            if not self._welcomed:
                self._welcomed = True
                messages.append(_to_welcome(records.decode_connect_response(body)))
                continue
            header, at = records.decode_reply_header(body)
            if header.xid == NOTIFICATION_XID:
                messages.append(Events(-1, tuple(self._expand_event(*records.decode_event(body, at)))))
            else:
                self._match_reply(header, body, at)
                messages.extend(self._pop_replies())
        return messages

    # -- replies in the order of the requests -----------------------------------------------------------------------

    def _match_reply(self, header: records.ReplyHeader, body: bytes, at: int) -> None:
        for request in self._pending:
            if request.xid == header.xid and request.reply is None:
                error = ErrorCode.THROTTLED if header.error == ErrorCode.THROTTLED_OP else header.error
                request.reply = Reply(request.number, header.zxid, int(error), (body, at), "")
                return
            if header.xid not in (PING_XID, AUTH_XID) and request.xid not in (PING_XID, AUTH_XID):
                raise WireError(f"received a reply to xid {header.xid}, expected one to xid {request.xid}")
        raise WireError(f"received a reply to xid {header.xid}, which no request has")

    def _pop_replies(self) -> Iterable[Reply]:
        pending = self._pending
        while pending and (reply := pending[0].reply) is not None:
            pending.popleft()
            yield reply

    # -- requests in ZooKeeper's form -------------------------------------------------------------------------------

    def _to_zookeeper(self, op: int, args: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        if op == Op.CREATE:
            return _choose_create_op(args[3]), args
        if op == Op.MULTI:
            return op, ([(_choose_create_op(p[4]) if p[0] == Op.CREATE else p[0], *p[1:]) for p in args[0]],)
        if op == Op.ADD_WATCH:
            return self._add_watch(args[0], WatchMode(args[1]))
        if op == Op.REMOVE_WATCHES:
            return self._remove_watch(args[0], _MODE_OF_KIND[args[1]])
        return op, args

    def _add_watch(self, path: str, mode: WatchMode) -> tuple[int, Sequence[Any]]:
        modes = self._modes.setdefault(path, set())
        modes.add(mode)
        if len(modes) == len(WatchMode):
            self._had_both.add(path)
        return int(Op.ADD_WATCH), (path, int(max(modes)))

    def _remove_watch(self, path: str, mode: WatchMode) -> tuple[int, Sequence[Any]]:
        modes = self._modes.get(path, set())
        modes.discard(mode)
        if modes:
            return int(Op.ADD_WATCH), (path, int(max(modes)))
        self._modes.pop(path, None)
        self._had_both.discard(path)
        return int(Op.REMOVE_WATCHES), (path, _ANY)

    def _expand_event(self, kind: int, path: str) -> Iterable[tuple[int, str]]:
        """Yield an event, and the event of the parent's children if only the recursive watch reports their change."""
        yield kind, path
        if kind in _CHILD_EVENTS and path != "/":
            parent = parent_of(path)
            # After the removal of the recursive watch this is still needed, until the server has processed the removal.
            if parent in self._had_both and WatchMode.PERSISTENT in self._modes[parent]:
                yield int(EventKind.CHILDREN_CHANGED), parent


def _choose_create_op(mode: int) -> int:
    """Return ZooKeeper's operation that creates a znode of this mode and returns its Stat."""
    if mode in TTL_MODES:
        return int(Op.CREATE_TTL)
    return int(Op.CREATE_CONTAINER if mode == CreateMode.CONTAINER else Op.CREATE2)


def _to_welcome(answer: records.ConnectResponse) -> Welcome:
    if answer.timeout_ms <= 0:
        return _NO_SESSION
    return Welcome(
        error=0,
        session_id=answer.session_id,
        password=answer.password,
        timeout_ms=answer.timeout_ms,
        outstanding=_OUTSTANDING,
        frame_bytes=_FRAME_BYTES,
        history_id=None,
        zxid=0,
        last_number=0,
    )


def _to_multi_result(count: int, results: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return `(code, result)` for each operation. After a failed multi the results are empty."""
    if len(results) != count:
        raise WireError("results of a multi do not match its operations")
    if any(kind == -1 for kind, *_ in results):
        return tuple((error, ()) for _, error, *_ in results)
    return tuple((0, tuple(fields)) for _, _, *fields in results)
