"""The engine: one server's sessions, their requests, and the seam to the log.

    request -> prep -> record -> take_proposals()     the caller makes records durable, in this order
    committed(index) -> apply -> events, then the reply -> the reads that waited behind it

The caller drives: it hands in what connections send and what the clock says, takes proposals, and tells up to which
index they are durable. The engine calls the connections' sinks synchronously, in the order in which things take effect;
nothing here waits, sleeps or fails. `now_ms` is monotonic and rules sessions, `wall_ms` is stamped into records.
"""

from __future__ import annotations

import hmac
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from coordserver.core.model.acl import Identity
from coordserver.core.model.disk_space import DiskSpace
from coordserver.core.model.errors import ErrorCode, KeeperError, UnimplementedError
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import RECORDED_AS, Op
from coordserver.core.model.records import Record
from coordserver.core.serving import container_cleaner
from coordserver.core.serving.admission import Admission
from coordserver.core.serving.answers import Answers
from coordserver.core.serving.connection import Hello, Sink, Welcome
from coordserver.core.serving.expiry import Expiry
from coordserver.core.serving.large_records import in_slices, is_large
from coordserver.core.serving.pipeline import CONNECT, EXPIRE, READ, REFUSAL, WRITE, Attachment, ClientSession, Entry
from coordserver.core.serving.prep import CHECK_READ, PREPARE, ephemerals_in
from coordserver.core.serving.statistics import EngineStatistics
from coordserver.core.serving.watches import WatchManager
from coordserver.core.state.machine import Machine, Outcome
from coordserver.core.state.reads import answer_bytes

_new = tuple.__new__
_CREATE_SESSION = int(Op.CREATE_SESSION)
_RESUME_SESSION = int(Op.RESUME_SESSION)
_CLOSE_SESSION = int(Op.CLOSE_SESSION)
_ERROR = int(Op.ERROR)
_LARGE = frozenset({_CLOSE_SESSION, int(Op.DELETE_TREE)})
_MAY_CREATE = frozenset({int(Op.CREATE), int(Op.MULTI)})
_EXPIRED = int(ErrorCode.SESSION_EXPIRED)
_MOVED = int(ErrorCode.SESSION_MOVED)
_THROTTLED = int(ErrorCode.THROTTLED)
_SYSTEM_ERROR = int(ErrorCode.SYSTEM_ERROR)

BYTES_PER_CHANGE = 4096
"""So many bytes of answers behind a write count as one change of the budget of `committed_slice`."""


class Engine:
    """Sessions, requests and watches over one machine."""

    def __init__(
        self, machine: Machine, limits: EngineLimits, *, new_password: Callable[[], bytes], session_id_seed: int
    ) -> None:
        self.machine = machine
        self.limits = limits
        self.admission = Admission(machine, limits)
        self.watches: WatchManager[Attachment] = WatchManager()
        self._new_password = new_password
        self._next_session_id = session_id_seed
        self._answers = Answers(machine, self.watches, limits).by_op
        self._live: dict[int, ClientSession] = {}
        self.expiry: Expiry[ClientSession] = Expiry()
        self.fresh: list[Record] = []  # proposed, and not taken yet
        self._slices: Iterator[None] | None = None
        self._held: dict[ClientSession, None] = {}
        self._freed: deque[ClientSession] = deque()
        self.proposed: deque[tuple[Record, ClientSession | None]] = deque()
        self._next_reap_ms: int | None = None
        self.refusals: Counter[int] = Counter()
        self._read_errors = 0
        self._opened = False

    # -- connections ------------------------------------------------------------------------------------------------

    def open(self, now_ms: int) -> None:
        """The port is open: every session that the machine brought along has its full timeout from now."""
        self._opened = True
        for session in self.machine.sessions.values():
            live = ClientSession(session.id, session.timeout_ms, self.expiry.time(now_ms), session)
            self._live[session.id] = live
            self.expiry.add(live)
        if self.machine.tree.quotas.enforced != self.limits.enforce_quota:
            self._propose(Record(int(Op.CONFIGURE), 0, 0, 0, 0, (), (self.limits.enforce_quota,)), None)

    def connect(
        self, sink: Sink, hello: Hello, identities: tuple[Identity, ...], now_ms: int, wall_ms: int
    ) -> Attachment:
        """Open or resume a session. `sink.welcome` comes at once if it is refused, else when its record is applied.

        Requests may follow at once; they wait their turn. A resume's password is judged before anything is disturbed.
        """
        if not self._opened:
            self.open(now_ms)
        attachment = Attachment(sink, identities, hello.name, hello.remembers)
        machine = self.machine
        attachment.history_known = hello.history_id in (None, machine.history_id)
        if self.admission.disk is DiskSpace.NONE or (attachment.history_known and hello.last_zxid > machine.zxid):
            return self._refuse_connect(attachment, _THROTTLED)
        timeout_ms = min(max(hello.timeout_ms, self.limits.session_timeout_ms_min), self.limits.session_timeout_ms_max)
        if hello.session_id == 0:
            if len(self._live) >= self.limits.sessions:
                return self._refuse_connect(attachment, _THROTTLED)
            live = ClientSession(self._draw_session_id(), timeout_ms, self.expiry.time(now_ms), None)
            self._live[live.id] = live
            self.expiry.add(live)
            op = _CREATE_SESSION
            arguments: tuple[Any, ...] = (self._new_password(), timeout_ms)
        else:
            known = self._live.get(hello.session_id)
            session = machine.sessions.get(hello.session_id)
            if known is None or session is None or not hmac.compare_digest(session.password, hello.password):
                return self._refuse_connect(attachment, _EXPIRED)
            live = known
            live.touched = self.expiry.time(now_ms)
            if live.newest is not None:
                live.newest.superseded = True
            op, arguments = _RESUME_SESSION, (timeout_ms, live.attachments + 1)
        live.attachments += 1
        live.newest = attachment
        attachment.live = live
        attachment.number = live.attachments
        live.pipeline.append((CONNECT, attachment, 0, op, timeout_ms))
        self._propose(Record(op, live.id, 0, 0, wall_ms, attachment.identities, arguments), live)
        return attachment

    def touch(self, attachment: Attachment, now_ms: int) -> None:
        """The session was heard of."""
        live = attachment.live
        if live is not None and not attachment.superseded:
            live.touched = self.expiry.time(now_ms)

    def detach(self, attachment: Attachment, now_ms: int) -> None:
        """The connection is gone: its watches go, its session stays until it expires. Its writes still take effect."""
        self._drop(attachment)
        live = attachment.live
        if live is not None:
            live.lose(attachment)

    def request(
        self,
        attachment: Attachment,
        number: int,
        op: int,
        acked: int,
        arguments: Sequence[Any],
        now_ms: int,
        wall_ms: int,
    ) -> None:
        """Take a request. Its reply comes in its turn, perhaps within this call."""
        live = attachment.live
        if live is None or attachment.closed or attachment.superseded:
            return
        live.touched = now_ms - self.expiry.shift
        check = CHECK_READ.get(op)
        try:
            if check is not None:
                check(arguments)
            else:
                preparation = PREPARE.get(op)
                if preparation is None:
                    raise UnimplementedError("", f"operation {op}")
                prepared = preparation(arguments, attachment.identities, self.limits)
                recorded = RECORDED_AS.get(op, op)
                ephemerals = ephemerals_in(recorded, prepared) if recorded in _MAY_CREATE else 0
                guard, proposed = self.admission, len(self.proposed)
                if ephemerals or attachment.remembers or proposed >= guard.plenty or len(live.pipeline) >= guard.most:
                    guard.check(attachment, live, number, acked, op, prepared, ephemerals, proposed)
        except KeeperError as refusal:
            self.refuse(attachment, number, int(refusal.code), refusal.detail, op)
            return
        except Exception as failure:  # noqa: BLE001 - a request that cannot be judged hurts only itself
            self._read_errors += 1
            self.refuse(attachment, number, _SYSTEM_ERROR, type(failure).__name__, op)
            return
        if check is not None:
            if live.pipeline:
                about = answer_bytes(self.machine.tree, op, arguments, live.id)
                live.awaited += max(about, live.longest_request)
                live.pipeline.append((READ, attachment, number, op, arguments))
            elif self._slices is None:
                self._answer(attachment, number, op, arguments)
            else:
                live.awaited += answer_bytes(self.machine.tree, op, arguments, live.id)
                self._hold(live, (READ, attachment, number, op, arguments))
            return
        live.pipeline.append((WRITE, attachment, number, op, ephemerals))
        if not attachment.remembers:
            number = acked = 0
        record = _new(Record, (recorded, live.id, number, acked, wall_ms, attachment.identities, prepared))
        self.fresh.append(record)
        self.proposed.append((record, live))

    def refuse(
        self, attachment: Attachment, number: int, error: int, detail: str, op: int = 0, *, logged: bool = False
    ) -> None:
        """Answer a request with an error, in its turn; nothing of it reaches the log.

        But for a write of ZooKeeper's protocol: there a refused one uses a zxid too, so its error is logged, as it is
        where the connection says so.
        """
        self.refusals[error] += 1
        live = attachment.live
        if live is None or attachment.closed or attachment.superseded:
            return
        if (logged or (op in PREPARE and not attachment.remembers)) and self.admission.disk is not DiskSpace.NONE:
            live.pipeline.append((WRITE, attachment, number, op, 0))
            self._propose(Record(_ERROR, live.id, 0, 0, 0, (), (error,)), live)
            return
        self._reply_in_turn(attachment, live, number, op, error, detail)

    def acknowledge(self, attachment: Attachment, number: int, op: int, now_ms: int) -> None:
        """Answer, in its turn, a request that its connection has done by itself."""
        live = attachment.live
        if live is not None and not (attachment.closed or attachment.superseded):
            live.touched = self.expiry.time(now_ms)
            self._reply_in_turn(attachment, live, number, op, 0, "")

    def _reply_in_turn(
        self, attachment: Attachment, live: ClientSession, number: int, op: int, error: int, detail: str
    ) -> None:
        if live.pipeline or self._slices is not None:
            self._hold(live, (REFUSAL, attachment, number, op, (error, detail)))
        else:
            attachment.sink.reply(number, self.machine.zxid, op, error, (), detail)

    # -- time -------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int, wall_ms: int, late_ms: int = 0) -> None:
        """Propose the end of sessions not heard of, and of containers and TTL znodes that have had their day.

        Call it only after every readable socket was read. `late_ms`: by how much this process was stopped or starved
        since the last tick; every session is given that much more.
        """
        if not self._opened:
            self.open(now_ms)
        if late_ms > 0:
            self.expiry.extend(late_ms)
        if self.admission.disk is DiskSpace.NONE:
            return
        for live in self.expiry.due(now_ms):
            if live.pipeline:
                # Its requests wait for us, and while many do it is not read from, so that it could not be heard.
                self.expiry.renew(live, now_ms)
                continue
            live.closing = True
            live.pipeline.append((EXPIRE, None, 0, _CLOSE_SESSION, 0))
            self._propose(Record(_CLOSE_SESSION, live.id, 0, 0, wall_ms, (), ()), live)
        if self._next_reap_ms is None or now_ms >= self._next_reap_ms:
            if self._next_reap_ms is not None:
                for record in container_cleaner.candidates(self.machine.tree, wall_ms, self.limits):
                    self._propose(record, None)
            self._next_reap_ms = now_ms + self.limits.container_check_ms

    # -- the seam to the log ----------------------------------------------------------------------------------------

    def take_proposals(self) -> list[Record]:
        """The records proposed since the last call, in order; the first of all has index `machine.index + 1`."""
        fresh, self.fresh = self.fresh, []
        return fresh

    def committed(self, index: int) -> None:
        """Records up to `index` are durable: apply them, deliver events, then replies, then the reads behind them."""
        while self.committed_slice(index, 1_000):
            pass

    def committed_slice(self, index: int, budget: int) -> bool:
        """As `committed`, but stop after about `budget` changes; whether more is left to do.

        A record with a large effect takes several calls, even where `index` is the last one applied.
        """
        machine, proposed = self.machine, self.proposed
        while machine.index < index or self._slices is not None or self._freed:
            if budget <= 0:
                return True
            if self._slices is not None:
                budget = 0
                next(self._slices, None)
                continue
            if self._freed:
                waiting = self._freed.popleft()
                budget -= 1 + waiting.awaited // BYTES_PER_CHANGE
                self._go_on(waiting)
                continue
            record, live = proposed.popleft()
            if record[0] in _LARGE and is_large(machine, record):
                self._slices = in_slices(machine, self.watches, record, partial(self._taken, live))
                continue
            outcome = machine.apply(machine.index + 1, record)
            events = outcome.events
            budget -= 1 + len(events)
            if events:
                for hearer, notices in self.watches.fire(events).items():
                    hearer.sink.events(outcome.zxid, notices)
            if live is not None:
                budget -= live.awaited // BYTES_PER_CHANGE
                self._complete(live, outcome)
        return False

    def _taken(self, live: ClientSession | None, outcome: Outcome) -> None:
        """A record that was taken in slices has had its effect: go on with what waited for that."""
        self._slices = None
        if live is not None:
            self._complete(live, outcome)
        self._freed.extend(self._held)
        self._held.clear()

    def _hold(self, live: ClientSession, entry: Entry) -> None:
        live.pipeline.append(entry)
        self._held[live] = None

    def expiries(self, now_ms: int) -> Iterator[tuple[int, int]]:
        """(session id, ms until it expires if it is not heard of), of the sessions that are there now."""
        found = ((session_id, self.expires_in(session_id, now_ms)) for session_id in tuple(self._live))
        return ((session_id, left) for session_id, left in found if left is not None)

    def expires_in(self, session_id: int, now_ms: int) -> int | None:
        """In how many ms a session expires if it is not heard of; None if there is none of that id."""
        live = self._live.get(session_id)
        return None if live is None else live.touched + live.timeout_ms - self.expiry.time(now_ms)

    def statistics(self) -> EngineStatistics:
        """Counters of the engine; those of the state are `machine.statistics()`."""
        watches, watched_paths = self.watches.counts()
        return EngineStatistics(
            sessions=len(self._live),
            attached=sum(1 for live in self._live.values() if live.attachment is not None),
            outstanding=sum(len(live.pipeline) for live in self._live.values()),
            proposals=len(self.proposed),
            watches=watches,
            watched_paths=watched_paths,
            expired=self.expiry.ended,
            expiries_failed=self.expiry.failed,
            refused=sum(self.refusals.values()),
            read_errors=self._read_errors,
        )

    # -- within -----------------------------------------------------------------------------------------------------

    def _draw_session_id(self) -> int:
        while self._next_session_id in self._live:
            self._next_session_id += 1
        drawn = self._next_session_id
        self._next_session_id += 1
        return drawn

    def _refuse_connect(self, attachment: Attachment, error: int) -> Attachment:
        attachment.closed = True
        self.refusals[error] += 1
        machine = self.machine
        attachment.sink.welcome(Welcome(error, 0, b"", 0, machine.history_id, machine.zxid, 0, 0))
        return attachment

    def _propose(self, record: Record, live: ClientSession | None) -> None:
        self.fresh.append(record)
        self.proposed.append((record, live))

    def _answer(self, attachment: Attachment, number: int, op: int, arguments: Sequence[Any]) -> None:
        try:
            result = self._answers[op](attachment, arguments)
        except KeeperError as refusal:
            if refusal.code is ErrorCode.LIMIT_EXCEEDED:
                self.refusals[refusal.code] += 1
            attachment.sink.reply(number, self.machine.zxid, op, int(refusal.code), (), refusal.detail)
        except Exception as failure:  # noqa: BLE001 - a read that fails hurts only itself
            self._read_errors += 1
            attachment.sink.reply(number, self.machine.zxid, op, _SYSTEM_ERROR, (), type(failure).__name__)
        else:
            attachment.sink.reply(number, self.machine.zxid, op, 0, result, "")

    def _complete(self, live: ClientSession, outcome: Outcome) -> None:
        """The write at the head of a session's pipeline was applied."""
        pipeline = live.pipeline
        what, attachment, number, op, extra = pipeline.popleft()
        if what == WRITE:
            if extra:
                live.pending_ephemerals -= extra
            if attachment is not None and not attachment.closed:
                attachment.sink.reply(number, outcome.zxid, op, outcome.error, outcome.result, outcome.detail)
            if op == _CLOSE_SESSION and outcome.error == 0:
                self._end(live, attachment)
        elif what == CONNECT and attachment is not None:
            self._connected(live, attachment, outcome, extra)
        elif outcome.error == 0:
            self.expiry.ended += 1
            self._end(live, None)
        elif live.id in self.machine.sessions:
            self.expiry.again(live, outcome.detail or ErrorCode(outcome.error).name)
        self._go_on(live)

    def _go_on(self, live: ClientSession) -> None:
        """Answer what waits at the head of a session's pipeline, up to the next write."""
        pipeline = live.pipeline
        while pipeline and pipeline[0][0] >= READ:
            what, attachment, number, op, extra = pipeline.popleft()
            if attachment is None or attachment.closed:
                continue
            if what == READ:
                self._answer(attachment, number, op, extra)
            else:
                attachment.sink.reply(number, self.machine.zxid, op, extra[0], (), extra[1])
        if not pipeline:
            live.awaited = live.longest_request = 0

    def _connected(self, live: ClientSession, attachment: Attachment, outcome: Outcome, timeout_ms: int) -> None:
        machine = self.machine
        session = machine.sessions.get(live.id)
        if outcome.error or session is None:
            if not attachment.closed:
                error = _EXPIRED if outcome.error == _EXPIRED else _THROTTLED
                self._refuse_connect(attachment, error)
            if live.session is None:
                self._forget(live)
            return
        live.session = session
        live.timeout_ms = timeout_ms
        if not live.closing:
            self.expiry.add(live)
        before = live.attachment
        if before is not None:
            self._drop(before)
            before.sink.close(_MOVED)
        live.attachment = None if attachment.closed else attachment
        if not attachment.closed:
            state = (machine.history_id, machine.zxid, session.last_number, attachment.number)
            attachment.sink.welcome(Welcome(0, live.id, session.password, session.timeout_ms, *state))

    def _end(self, live: ClientSession, closer: Attachment | None) -> None:
        """The session has ended: by its own close_session (`closer`), or by expiry."""
        self._forget(live)
        for attachment in dict.fromkeys((closer, live.attachment)):
            if attachment is not None and not attachment.closed:
                self._drop(attachment)
                attachment.sink.close(0 if attachment is closer else _EXPIRED)
        live.attachment = None

    def _forget(self, live: ClientSession) -> None:
        if self._live.get(live.id) is live:
            del self._live[live.id]
        live.closing = True
        self.expiry.remove(live)

    def _drop(self, attachment: Attachment) -> None:
        attachment.closed = True
        self.watches.drop(attachment)
