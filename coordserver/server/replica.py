"""The commit loop: from proposals to the disk to applied state, one batch in flight.

    requests -> engine.take_proposals() -> [log writer: one durable write] -> engine.committed -> outputs

What is durable is told through a descriptor that the poller attends to among its sockets: a batch costs no round of the
scheduler of its own, and its answers leave with those of the requests read meanwhile.

A batch is begun when all sockets were read, or when it is large, or a few turns after its first record: begun sooner
it would be of few records, and each costs as much as ten of them. While nobody else asks, that is at once. A large one
is begun before the one that is durable is applied: the disk need not wait for the tree.

Nothing is applied, and so nothing is answered, before its record is durable. An error of the disk is final: nobody
knows what was written, so the loop raises it and the server stops. That there is no room for another segment is none:
nothing was written, so the batch waits, and is tried again until there is room.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from coordserver.core.serving.engine import Engine
from coordserver.server.log_writer import SEAL, LogWriter
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.record_format import encode_records
from coordserver.storage.txnlog import TxnLog

SLICE_RECORDS = 256
"""Records applied before sockets are served again."""

BATCH_RECORDS = 100
"""So many records are a batch, though more may come at once."""

GATHER_TURNS = 8
"""Turns of the sockets after which a batch is begun, though more is still coming."""


class Replica:
    """Gives the log what was proposed and feeds what is durable back into the engine.

    Whoever waits for sockets calls `collect` when `fd` is readable. `delivered` is called after records were applied
    outside of it: outputs are to be sent. `writes`: the C library's way to write, if there is one. All methods run in
    the trio thread; the constructor too.
    """

    def __init__(
        self, engine: Engine, log: TxnLog, delivered: Callable[[], None], writes: AsyncWrites | None = None
    ) -> None:
        self._engine = engine
        self.log = log
        self._delivered = delivered
        self._writer = LogWriter(log, writes)
        self.fd = self._writer.fd
        self._next_index = log.next_index
        self._durable_index = log.next_index - 1
        self._in_flight = False
        self._idle = False
        self._holds = 0
        self._turns = 0
        self._behind = False
        self._waiting = 0
        self._failure: Exception | None = None
        self._changed = trio.Event()

    @property
    def applied_index(self) -> int:
        """The last record that was applied."""
        return self._engine.machine.index

    @property
    def stalled(self) -> bool:
        """A batch waits for room on the disk."""
        return self._writer.stalled

    def turn(self) -> None:
        """Once a turn of the sockets: apply a slice of what is durable, begin a batch if enough has gathered."""
        if self._behind and not self._holds and self._failure is None:
            self._guarded_apply()
        self._turns += 1
        if self._turns >= GATHER_TURNS or len(self._engine.fresh) >= BATCH_RECORDS:
            self.kick()

    def kick(self) -> bool:
        """Give the log what was proposed since, unless a batch is in flight; it will be the next then. At the latest
        when there is nothing to read, and before anybody waits. Whether a batch is in flight now."""
        self._turns = 0
        if self._in_flight or self._failure is not None:
            return self._in_flight
        records = self._engine.take_proposals()
        if records:
            self._begin(encode_records(records), len(records))
        return self._in_flight

    def tick(self) -> None:
        """Ten times a second: have the log's place checked, and seal it where it has been idle since the last time."""
        if self._failure is None:
            self._writer.check()
        if self._in_flight and self._writer.is_done_unheard():
            self.collect()
            self._delivered()
        idle, self._idle = self._idle, True
        if idle and not (self._in_flight or self.log.sealed or self._failure):
            self._begin(SEAL, 0)

    def collect(self) -> None:
        """Take back the batch that is durable: start the next one, apply this one."""
        for done in self._writer.collect():
            if isinstance(done, Exception):
                self._failure = done
                self._changed.set()
            elif self._failure is None:
                self._durable(done)

    async def run(self) -> None:
        """Apply what is left over when a batch is larger than a slice. Raises what the log or the engine raised."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while self._behind and not self._holds and self._failure is None:
                await trio.lowlevel.checkpoint()
                if not self._holds:  # a snapshot may have begun meanwhile
                    self._guarded_apply()
                    self._delivered()
            if self._failure is not None:
                raise self._failure

    async def drained(self) -> None:
        """Return once nothing is proposed, in flight or unapplied."""
        self._waiting += 1
        try:
            self.kick()
            while self._in_flight or self._behind:
                await self._changed.wait()
                await trio.lowlevel.checkpoint()
                self.kick()
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[int]:
        """The applied state stands still meanwhile, at the index given; the log goes on, and reads are answered."""
        self._holds += 1
        try:
            while self._engine.committed_slice(self.applied_index, 1):  # the rest of a record that is half applied
                self._delivered()
                await trio.lowlevel.checkpoint()
            self._delivered()
            yield self.applied_index
        finally:
            self._holds -= 1
            self._behind = True
            self._changed.set()

    async def stop(self) -> None:
        """Let the log finish what it has, be sealed, and end. Shielded by the caller, with a deadline."""
        await self._writer.stop()

    def _begin(self, payload: bytes, count: int) -> None:
        self._in_flight = True
        self._idle = False
        self._writer.begin(payload, count, self._next_index)
        self._next_index += count

    def _durable(self, last_index: int) -> None:
        """The batch up to `last_index` is on the disk."""
        self._in_flight = False
        self._durable_index = last_index
        if len(self._engine.fresh) >= BATCH_RECORDS:
            self.kick()
        if not self._holds:
            self._guarded_apply()
        else:
            self._behind = True

    def _guarded_apply(self) -> None:
        try:
            self._behind = self._engine.committed_slice(self._durable_index, SLICE_RECORDS)
        except Exception as error:  # noqa: BLE001 - run() raises it, and the server stops
            self._failure = error
        if self._behind or self._waiting or self._failure is not None:
            self._changed.set()
