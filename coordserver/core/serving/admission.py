"""Whether a write may be proposed: what is judged of it before the log, beyond its own form (prep.py).

Two kinds of limits: those of its session, and those of the whole server, whose disk or memory may be full. When they
are, deletes still pass, as do sessions' beginnings and ends: what makes room must never be refused for want of it.
"""

from __future__ import annotations

from typing import Any

from coordserver.core.model.disk_space import DiskSpace
from coordserver.core.model.errors import (
    DiskFullError,
    MalformedError,
    MemoryFullError,
    ThrottledError,
    TooManyEphemeralsError,
)
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.serving.pipeline import Attachment, ClientSession
from coordserver.core.state.machine import Machine
from coordserver.core.state.sessions import MAX_REMEMBERED, MAX_REMEMBERED_BYTES

_MULTI = int(Op.MULTI)
_FREEING = frozenset({int(Op.DELETE), int(Op.DELETE_TREE), int(Op.CLOSE_SESSION)})
_FREEING_IN_MULTI = frozenset({int(Op.DELETE), int(Op.CHECK), int(Op.ERROR)})


class Admission:
    """What the server and a session have room for. The edge says how full disk and memory are.

    A write need not be checked that creates no ephemeral and whose outcome is not remembered, while fewer than `plenty`
    writes of all sessions and fewer than `most` requests of its own are outstanding.
    """

    def __init__(self, machine: Machine, limits: EngineLimits) -> None:
        self._machine = machine
        self._limits = limits
        self._short = False
        self.plenty = limits.outstanding_writes
        self.most = limits.outstanding_per_session
        self.disk = DiskSpace.ENOUGH
        self.memory_full = False
        self.outstanding_full = False

    def set_disk(self, disk: DiskSpace) -> None:
        """So much can be written from now on."""
        self.disk = disk
        self._settle()

    def set_memory(self, full: bool) -> None:
        """Whether memory is full from now on."""
        self.memory_full = full
        self._settle()

    def set_outstanding(self, full: bool) -> None:
        """Whether more bytes of requests wait than may, of all connections, from now on."""
        if full is not self.outstanding_full:
            self.outstanding_full = full
            self._settle()

    def _settle(self) -> None:
        self._short = self.memory_full or self.outstanding_full or self.disk is not DiskSpace.ENOUGH
        self.plenty = 0 if self._short else self._limits.outstanding_writes

    def check(
        self,
        attachment: Attachment,
        live: ClientSession,
        number: int,
        acked: int,
        op: int,
        prepared: tuple[Any, ...],
        ephemerals: int,
        proposed: int,
    ) -> None:
        """Raise a KeeperError for a write that is numbered wrong, or that would go over a limit; else count it.

        A write sent again takes no room: it may have happened, and a refusal says that it has not. `proposed`: how many
        are on their way through the log.
        """
        limits = self._limits
        if proposed >= limits.outstanding_writes and op not in _FREEING:
            raise ThrottledError("", f"outstanding writes of all sessions: at most {limits.outstanding_writes}")
        if len(live.pipeline) >= limits.outstanding_per_session:
            raise ThrottledError("", f"outstanding requests: at most {limits.outstanding_per_session}")
        again = attachment.remembers and self._is_sent_again(live, number, acked)
        if self._short and not again:
            self._check_server(op, prepared)
        if ephemerals:
            held = len(self._machine.tree.ephemerals.get(live.id, ())) + live.pending_ephemerals
            if held + ephemerals > limits.ephemerals_per_session and not again:
                raise TooManyEphemeralsError("", f"at most {limits.ephemerals_per_session}")
            live.pending_ephemerals += ephemerals
        if attachment.remembers and not again:
            live.unacked.append(number)
            live.last_number = max(live.last_number, number)

    def _check_server(self, op: int, prepared: tuple[Any, ...]) -> None:
        frees = op in _FREEING or (op == _MULTI and all(part[0] in _FREEING_IN_MULTI for part in prepared[0]))
        if self.disk is DiskSpace.NONE or (self.disk is DiskSpace.LOW and not frees):
            raise DiskFullError("", "the server's disk is full" if frees else "the server's disk is full: only deletes")
        if self.memory_full and not frees:
            raise MemoryFullError("", "the server's memory is full: only deletes")
        if self.outstanding_full and not frees:
            raise ThrottledError("", "outstanding bytes of all connections")

    def _is_sent_again(self, live: ClientSession, number: int, acked: int) -> bool:
        """Whether a write's number is known; if it is not, there must be room to remember its outcome."""
        if type(number) is not int or type(acked) is not int or not 0 < acked <= number:
            raise MalformedError("", f"number {number}, acked {acked}")
        unacked, session = live.unacked, live.session
        while unacked and unacked[0] < acked:
            unacked.popleft()
        if (
            number <= live.last_number
            and unacked
            and ((session is not None and number in session.outcomes) or number in unacked)
        ):
            return True
        if len(unacked) >= MAX_REMEMBERED or (
            session is not None
            and session.weight >= MAX_REMEMBERED_BYTES
            and session.weight_from(acked) >= MAX_REMEMBERED_BYTES
        ):
            raise ThrottledError("", "unacknowledged writes")
        return False
