"""Requests under way: their numbers, their order, and how many there may be.

    caller -> [gate] -> unsent -> sent -> answered

A session answers in order, so `sent` is a queue and its head is the one that the next reply answers. When a connection
is lost, what was sent goes back in front of what was not, keeping numbers and order; the next connection sends it again
and the server knows the writes by their numbers. At most `outstanding` requests are in `sent`, as the server asks; the
gate lets callers wait, in the order of their calls, while the backlog is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from coordserver.client.watches import Watch
from coordserver.core.errors import CoordError
from coordserver.core.operations import OPERATIONS, Kind, Op

# The numbers of a predecessor's reads, and of writes that the server refused, are not known to anybody.
_BEYOND_PREDECESSOR = 1 << 32
BACKLOG_BYTES = 16 * 1024 * 1024  # of data in requests not yet answered; a single larger one is still let through

_WRITES = frozenset(op for op, row in OPERATIONS.items() if row.kind is Kind.WRITE)


class Call:
    """One request. Whoever waits for it finds the answer in `zxid` and `result`, or `error`."""

    __slots__ = (
        "_queue",
        "_task",
        "abandoned",
        "args",
        "done",
        "error",
        "internal",
        "number",
        "op",
        "result",
        "sent",
        "size",
        "watch",
        "zxid",
    )

    def __init__(
        self,
        op: int,
        args: Sequence[Any],
        *,
        size: int = 0,
        watch: Watch | None = None,
        internal: bool = False,
    ) -> None:
        self.op = op
        self.args = args
        self.size = size
        self.watch = watch  # what an add_watch arms
        self.internal = internal  # of this connection only: not sent again on another
        self.number = 0
        self.sent = False  # handed to some connection, so that it may have happened
        self.done = False
        self.abandoned = False  # whoever waited was cancelled
        self._queue: CallQueue | None = None
        self.zxid = 0
        self.result: tuple[Any, ...] = ()
        self.error: CoordError | None = None
        self._task: trio.lowlevel.Task | None = None

    @property
    def write(self) -> bool:
        return self.op in _WRITES

    @property
    def path(self) -> str:
        """What the request is about, for errors."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else ""

    def settle(self, zxid: int, result: tuple[Any, ...], error: CoordError | None) -> None:
        """The answer is there; wake whoever still waits."""
        self.zxid, self.result, self.error, self.done = zxid, result, error, True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait for the answer. Cancelled, the call goes on without anybody to tell."""
        if self.done:
            return

        def abandon(_: object) -> trio.lowlevel.Abort:
            self._task = None
            self.abandon()
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abandon)

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.abandoned = True
        if self._queue is not None:
            self._queue.on_abandoned(self)

    def joins(self, queue: CallQueue) -> None:
        """The queue takes it, and wants to know if it is abandoned."""
        self._queue = queue


class CallQueue:
    """The calls of one session, in order."""

    def __init__(self) -> None:
        self.outstanding = 100  # until the server tells its own limit
        self._sent: deque[Call] = deque()
        self._unsent: deque[Call] = deque()
        self._writes: deque[int] = deque()
        self._bytes = 0
        self._next_number = 1
        self._era = 0
        self._gate = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._sent) + len(self._unsent)

    @property
    def idle(self) -> bool:
        """Whether nothing is on the wire."""
        return not self._sent

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def head(self) -> Call | None:
        """What the next reply answers."""
        return self._sent[0] if self._sent else None

    def _full(self) -> bool:
        return len(self) >= self.outstanding or self._bytes >= BACKLOG_BYTES

    @property
    def must_wait(self) -> bool:
        """Whether a caller has to go through `wait_and_add`."""
        return self._gate.locked() or self._full()

    async def wait_and_add(self, call: Call) -> bool:
        """Add when there is room, after those who came before. False if the session ended meanwhile."""
        era = self._era
        async with self._gate:
            while self._full() and era == self._era:
                await self._room.park()
            if era != self._era:
                return False
            self.add(call)
            return True

    def add(self, call: Call) -> None:
        """Number it and queue it behind all others."""
        call.number = self._next_number
        self._next_number += 1
        self._bytes += call.size
        if call.write:
            self._writes.append(call.number)
        call.joins(self)
        self._unsent.append(call)

    def continue_after(self, last_number: int) -> None:
        """Number on in a session that another process had, where the server remembers this write as its last."""
        self._next_number = last_number + _BEYOND_PREDECESSOR

    def push_first(self, calls: Sequence[Call]) -> None:
        """Queue before all others: what a new connection needs before anything is sent again."""
        for call in calls:
            call.number = self._next_number
            self._next_number += 1
        self._unsent.extendleft(reversed(calls))

    def add_sent(self, call: Call) -> None:
        """Number it as sent now, whatever the limit: a ping."""
        call.number = self._next_number
        self._next_number += 1
        call.sent = True
        self._sent.append(call)

    @property
    def acked(self) -> int:
        """The lowest number of a write that is unanswered, or the next number."""
        return self._writes[0] if self._writes else self._next_number

    def next_to_send(self) -> Call | None:
        """The next call that the server's limit allows on the wire; it counts as sent."""
        if not self._unsent or len(self._sent) >= self.outstanding:
            return None
        call = self._unsent.popleft()
        call.sent = True
        self._sent.append(call)
        return call

    def on_abandoned(self, call: Call) -> None:
        """A call that never left, or a read that waits to be sent again, makes room; what is on the wire stays."""
        if (call.write and call.sent) or call not in self._unsent:
            return
        self._unsent.remove(call)
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self._bytes -= call.size
        if call.write and not call.internal:
            self._writes.remove(call.number)
        self._room.unpark()

    def answered(self) -> Call:
        """Take the head off: its reply has come."""
        call = self._sent.popleft()
        self._forget(call)
        return call

    def withdraw_last(self) -> None:
        """Undo the newest `next_to_send`: the call could not be encoded."""
        self._forget(self._sent.pop())

    def connection_lost(self, *, resend_writes: bool) -> list[Call]:
        """What was sent must be sent again, except what concerned that connection only.

        Returns the writes that must not be sent again because the server would not know them; they are taken out.
        """
        again: list[Call] = []
        given_up: list[Call] = []
        for call in self._sent:
            if call.write and not resend_writes:
                given_up.append(call)
            elif call.write or not (call.internal or call.abandoned):
                again.append(call)
        unsent = [call for call in self._unsent if not call.internal]
        for call in given_up:
            self._forget(call)
        self._bytes -= sum(call.size for call in self._sent if call.abandoned and not call.write)
        self._sent.clear()
        self._unsent = deque((*again, *unsent))
        self._room.unpark()
        return given_up

    def session_lost(self) -> list[Call]:
        """Empty the queue for a new session and return what it held."""
        held = [call for call in (*self._sent, *self._unsent) if not call.internal]
        self._sent.clear()
        self._unsent.clear()
        self._writes.clear()
        self._bytes = 0
        self._next_number = 1
        self._era += 1
        self._room.unpark_all()
        return held


def ping() -> Call:
    """Keeps the session alive; nobody waits for it."""
    return Call(Op.PING, (), internal=True)
