"""The requests of a session: their numbers, their order, and the limits on them.

    caller -> [gate] -> unsent -> sent -> answered

A server answers the requests of a session in order, so `sent` is a queue and the next reply answers its head. After a
lost connection the sent requests move back to the front of the unsent ones, with their numbers and in their order. The
next connection sends them again, and the server recognises repeated writes by their numbers. `sent` has at most
`outstanding` requests, which is the server's limit. While the queue is full, callers wait at the gate in the order of
their calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from coordserver.client.watches import Watch
from coordserver.core.model.errors import CoordError
from coordserver.core.model.operations import OPERATIONS, Kind, Op

# A resumed session continues with the number of the last write that the server remembers plus this distance. The
# earlier process also numbered reads and refused writes, which the server does not remember.
_BEYOND_PREDECESSOR = 1 << 32
BACKLOG_BYTES = 16 * 1024 * 1024  # the limit of data in unanswered requests; the last request may exceed it

_WRITES = frozenset(op for op, row in OPERATIONS.items() if row.kind is Kind.WRITE)


class Call:
    """One request. After `wait`, the reply is in `zxid` and either `result` or `error`."""

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
        self.watch = watch  # the watch that an add_watch arms
        self.internal = internal  # belongs to one connection and is not sent again on another
        self.number = 0
        self.sent = False  # passed to a connection, so that the server may have executed it
        self.done = False
        self.abandoned = False  # the waiting task was cancelled
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
        """The path in the text of errors, empty if the request has none."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else ""

    def settle(self, zxid: int, result: tuple[Any, ...], error: CoordError | None) -> None:
        """Set the reply or the error, and wake the waiting task."""
        self.zxid, self.result, self.error, self.done = zxid, result, error, True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait for the reply. If the waiting task is cancelled, the call is abandoned."""
        if self.done:
            return

        def abandon(_: object) -> trio.lowlevel.Abort:
            self._task = None
            self.abandon()
            return trio.lowlevel.Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abandon)

    def abandon(self) -> None:
        """Mark the call as abandoned and notify its queue, which removes it if it was never sent."""
        self.abandoned = True
        if self._queue is not None:
            self._queue.on_abandoned(self)

    def set_queue(self, queue: CallQueue) -> None:
        """Set the queue that is notified if the call is abandoned."""
        self._queue = queue


class CallQueue:
    """The calls of one session, in order."""

    def __init__(self) -> None:
        self.outstanding = 100  # the server's limit, which its welcome sets
        self._sent: deque[Call] = deque()
        self._unsent: deque[Call] = deque()
        self._writes: deque[int] = deque()
        self._bytes = 0
        self._next_number = 1
        self._session_number = 0
        self._gate = trio.Lock()
        self._waiters = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._sent) + len(self._unsent)

    @property
    def idle(self) -> bool:
        """Whether no sent request is unanswered."""
        return not self._sent

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def head(self) -> Call | None:
        """The call that the next reply answers, or None."""
        return self._sent[0] if self._sent else None

    def _is_full(self) -> bool:
        return len(self) >= self.outstanding or self._bytes >= BACKLOG_BYTES

    @property
    def must_wait(self) -> bool:
        """Whether a caller must use `wait_and_add` instead of `add`, because the queue is full or others wait."""
        return self._gate.locked() or self._is_full()

    async def wait_and_add(self, call: Call) -> bool:
        """Wait behind earlier callers until the queue is not full, then add a call.

        Returns False if the session ended before that.
        """
        session_number = self._session_number
        async with self._gate:
            while self._is_full() and session_number == self._session_number:
                await self._waiters.park()
            if session_number != self._session_number:
                return False
            self.add(call)
            return True

    def add(self, call: Call) -> None:
        """Number a call and append it to the unsent ones."""
        call.number = self._next_number
        self._next_number += 1
        self._bytes += call.size
        if call.write:
            self._writes.append(call.number)
        call.set_queue(self)
        self._unsent.append(call)

    def continue_after(self, last_number: int) -> None:
        """Continue the numbers of a session that an earlier process began.

        `last_number` is that of the last write that the server remembers.
        """
        self._next_number = last_number + _BEYOND_PREDECESSOR

    def push_first(self, calls: Sequence[Call]) -> None:
        """Number calls and queue them, in order, before all others. A new connection sends them first."""
        for call in calls:
            call.number = self._next_number
            self._next_number += 1
        self._unsent.extendleft(reversed(calls))

    def add_sent(self, call: Call) -> None:
        """Number a call and count it as sent. It is for pings, which the limit does not affect."""
        call.number = self._next_number
        self._next_number += 1
        call.sent = True
        self._sent.append(call)

    @property
    def acked(self) -> int:
        """The lowest number of an unanswered write, or the next number if there is none."""
        return self._writes[0] if self._writes else self._next_number

    def next_to_send(self) -> Call | None:
        """Return the next call to send and count it as sent.

        Returns None if no call is queued, or if the limit is reached.
        """
        if not self._unsent or len(self._sent) >= self.outstanding:
            return None
        call = self._unsent.popleft()
        call.sent = True
        self._sent.append(call)
        return call

    def on_abandoned(self, call: Call) -> None:
        """Remove an abandoned call if it was never sent, or if it is a read that waits to be sent again.

        A call that was sent on the current connection stays in the queue, because its reply will come.
        """
        if (call.write and call.sent) or call not in self._unsent:
            return
        self._unsent.remove(call)
        self._release(call)

    def _release(self, call: Call) -> None:
        """Release the space of a removed call."""
        self._bytes -= call.size
        if call.write and not call.internal:
            self._writes.remove(call.number)
        self._waiters.unpark()

    def pop_answered(self) -> Call:
        """Remove and return the head, whose reply was received."""
        call = self._sent.popleft()
        self._release(call)
        return call

    def withdraw_last(self) -> None:
        """Remove the call of the last `next_to_send`, because it could not be encoded."""
        self._release(self._sent.pop())

    def connection_lost(self, *, resend_writes: bool) -> list[Call]:
        """Queue the sent calls for the next connection, except internal calls and abandoned reads.

        If `resend_writes` is false, removes and returns the sent writes, because the server would not recognise them.
        """
        again: list[Call] = []
        removed: list[Call] = []
        for call in self._sent:
            if call.write and not resend_writes:
                removed.append(call)
            elif call.write or not (call.internal or call.abandoned):
                again.append(call)
        unsent = [call for call in self._unsent if not call.internal]
        for call in removed:
            self._release(call)
        self._bytes -= sum(call.size for call in self._sent if call.abandoned and not call.write)
        self._sent.clear()
        self._unsent = deque((*again, *unsent))
        self._waiters.unpark()
        return removed

    def session_lost(self) -> list[Call]:
        """Empty the queue for a new session. Returns the calls that it had, without the internal ones."""
        pending = [call for call in (*self._sent, *self._unsent) if not call.internal]
        self._sent.clear()
        self._unsent.clear()
        self._writes.clear()
        self._bytes = 0
        self._next_number = 1
        self._session_number += 1
        self._waiters.unpark_all()
        return pending


def make_ping() -> Call:
    """Return a ping, which keeps the session alive. No task waits for it."""
    return Call(Op.PING, (), internal=True)
