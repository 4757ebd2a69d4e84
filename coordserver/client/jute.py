"""ZooKeeper's protocol behind the session's codec seam: the client against any Apache ZooKeeper from 3.6 on.

The bytes are `coordserver.wire.jute.client`'s business; here is what differs from the native protocol:

- Writes are not known again by their numbers, so that what was under way when a connection was lost is not sent again.
- A new connection cannot say what its watches missed: add_watch never counts as resumed.
- Events are told without a zxid, although newer servers send one: those of one change come one by one, and a zxid must
  not make the second look like one already seen.
- Pings and credentials have xids of their own, and their replies may overtake others: they are held until their turn.
- Up to 3.8 a path has one watch of a connection, the last mode asked for. Where both are wanted the recursive one is
  asked for, and what it tells of a child stands for the change of the parent's children, too (which a server that
  keeps both may tell once more).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from coordserver.client.codec import Events, Hello, Message, Reply, Welcome
from coordserver.core.errors import ErrorCode, WireError
from coordserver.core.operations import TTL_MODES, CreateMode, EventKind, Op, WatchMode
from coordserver.core.paths import parent_of
from coordserver.wire.framing import FrameBuffer, Oversized
from coordserver.wire.jute import client as records
from coordserver.wire.jute.opcodes import AUTH_XID, NOTIFICATION_XID, PING_XID

MAX_REPLY_BYTES = 256 * 1024 * 1024

_FRAME_BYTES = 1_048_575  # jute.maxbuffer as ZooKeeper has it where nobody set it
_OUTSTANDING = 1000  # globalOutstandingLimit
_XIDS = 0x7FFF_FFFF
_ANY = 3  # WatcherType.ANY: 3.8 knows no types of the persistent ones
_MODE_OF_KIND = {4: WatchMode.PERSISTENT, 5: WatchMode.PERSISTENT_RECURSIVE}
_OWN_XIDS = {int(Op.PING): PING_XID, int(Op.AUTH): AUTH_XID}
_COMING_AND_GOING = (EventKind.CREATED, EventKind.DELETED)
_NO_SESSION = Welcome(int(ErrorCode.SESSION_EXPIRED), 0, b"", 0, 1, _FRAME_BYTES, None, 0, 0)


class _Asked:
    """A request under way, and its reply if that came before its turn."""

    __slots__ = ("number", "reply", "xid")

    def __init__(self, number: int, xid: int) -> None:
        self.number = number
        self.xid = xid
        self.reply: Reply | None = None


class JuteCodec:
    """One connection to a ZooKeeper."""

    def __init__(self) -> None:
        self._frames = FrameBuffer(MAX_REPLY_BYTES)
        self._welcomed = False
        self._asked: deque[_Asked] = deque()
        self._modes: dict[str, set[WatchMode]] = {}
        self._had_both: set[str] = set()

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
            frame = records.request(xid, *self._as_zookeeper(op, args))
        if len(frame) <= _FRAME_BYTES:  # a longer one is not sent
            self._asked.append(_Asked(number, xid))
        return frame

    def result(self, op: int, args: Sequence[Any], fields: tuple[Any, ...]) -> tuple[Any, ...]:
        body, at = fields
        if op == Op.ADD_WATCH:
            return (False,)  # never resumed
        if op in (Op.REMOVE_WATCHES, Op.AUTH):
            return ()
        if op == Op.MULTI:
            return _multi_result(len(args[0]), *records.decode_result(op, body, at))
        return records.decode_result(Op.CREATE2 if op == Op.CREATE else op, body, at)

    def receive(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        self._frames.feed(data)
        while (body := self._frames.next()) is not None:
            if isinstance(body, Oversized):
                raise WireError(f"reply of {body.length} bytes is over the limit of {MAX_REPLY_BYTES}")
            if not self._welcomed:
                self._welcomed = True
                messages.append(_welcome(records.decode_connect_response(body)))
                continue
            header, at = records.decode_reply_header(body)
            if header.xid == NOTIFICATION_XID:
                messages.append(Events(-1, tuple(self._events(*records.decode_event(body, at)))))
            else:
                self._take(header, body, at)
                messages.extend(self._due())
        return messages

    # -- replies in turn --------------------------------------------------------------------------------------------

    def _take(self, header: records.ReplyHeader, body: bytes, at: int) -> None:
        for asked in self._asked:
            if asked.xid == header.xid and asked.reply is None:
                error = ErrorCode.THROTTLED if header.error == ErrorCode.THROTTLED_OP else header.error
                asked.reply = Reply(asked.number, header.zxid, int(error), (body, at), "")
                return
            if header.xid not in (PING_XID, AUTH_XID) and asked.xid not in (PING_XID, AUTH_XID):
                raise WireError(f"a reply to {header.xid} where one to {asked.xid} was due")
        raise WireError(f"a reply to {header.xid}, which was not asked")

    def _due(self) -> Iterable[Reply]:
        asked = self._asked
        while asked and (reply := asked[0].reply) is not None:
            asked.popleft()
            yield reply

    # -- requests as ZooKeeper has them -----------------------------------------------------------------------------

    def _as_zookeeper(self, op: int, args: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        if op == Op.CREATE:
            return _create_op(args[3]), args
        if op == Op.MULTI:
            return op, ([(_create_op(p[4]) if p[0] == Op.CREATE else p[0], *p[1:]) for p in args[0]],)
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

    def _events(self, kind: int, path: str) -> Iterable[tuple[int, str]]:
        yield kind, path
        if kind in _COMING_AND_GOING and path != "/":
            parent = parent_of(path)
            # Still so when the recursive one has left: the server may not have heard of that yet.
            if parent in self._had_both and WatchMode.PERSISTENT in self._modes[parent]:
                yield int(EventKind.CHILDREN_CHANGED), parent


def _create_op(mode: int) -> int:
    """Which of ZooKeeper's operations creates that, and answers with the Stat."""
    if mode in TTL_MODES:
        return int(Op.CREATE_TTL)
    return int(Op.CREATE_CONTAINER if mode == CreateMode.CONTAINER else Op.CREATE2)


def _welcome(answer: records.ConnectResponse) -> Welcome:
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


def _multi_result(count: int, results: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """`(code, result)` for each operation; of a failed multi only the codes."""
    if len(results) != count:
        raise WireError("results of a multi do not match its operations")
    if any(kind == -1 for kind, *_ in results):
        return tuple((error, ()) for _, error, *_ in results)
    return tuple((0, tuple(fields)) for _, _, *fields in results)
