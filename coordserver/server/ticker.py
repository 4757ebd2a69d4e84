"""Time, ten times a second: expiry, deadlines, garbage.

Sessions expire only after every socket that was readable has been read, so that a ping which had arrived counts;
and if this process itself was late (stopped, starved), all sessions are extended by the lateness before any is
judged.

Garbage: the state is reachable for ever and has no cycles, so collections are kept to what is new: each tick
collects the young generations and freezes what survived, where a full collection over a million znodes would take
half a second.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from coordserver.core.serving.engine import Engine
from coordserver.server.clock import Clock
from coordserver.server.poller import Poller

_log = logging.getLogger(__name__)

TICK_S = 0.1
LEAST_TICK_S = 0.005
GC_THRESHOLDS = (200_000, 1_000_000, 1_000_000)
"""So high that each object is looked at once, by a tick, and only by the collector itself where ticks are late."""
_MAX_SWEEPS = 64


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage for the time of the block, nor ever what it made: a state is loaded in half the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Ticker:
    """Drives the engine's time. `deadlines` is called with the monotonic time after each tick."""

    def __init__(
        self, engine: Engine, poller: Poller, clock: Clock, deadlines: Callable[[int], None], *, own_process: bool
    ) -> None:
        self._engine = engine
        self._poller = poller
        self._clock = clock
        self._deadlines = deadlines
        self._own_process = own_process
        self._expiries_failed = 0
        self.late_ms_max = 0

    async def run(self, wanted_s: float = TICK_S) -> None:
        """Tick every 0.1 s until cancelled, or every `wanted_s` where something is to happen more often."""
        every_s = max(LEAST_TICK_S, min(wanted_s, TICK_S))
        if self._own_process:
            gc.set_threshold(*GC_THRESHOLDS)
        due = trio.current_time() + every_s
        while True:
            await trio.sleep_until(due)
            woken = trio.current_time()
            late = woken - due
            due = woken + every_s  # what the work of this tick takes longer is the lateness of the next
            await self._read_everything()
            self.tick(int(late * 1000))

    def tick(self, late_ms: int) -> None:
        """One tick, `late_ms` after it was due."""
        self.late_ms_max = max(self.late_ms_max, late_ms)
        now_ms = self._clock.now_ms()
        self._engine.tick(now_ms, self._clock.wall_ms(), late_ms if late_ms > TICK_S * 1000 else 0)
        self._tell_of_expiries()
        self._deadlines(now_ms)
        self._poller.sweep()
        if self._own_process:
            gc.collect(1)
            gc.freeze()

    def _tell_of_expiries(self) -> None:
        failed, fault = self._engine.expiry.failed, self._engine.expiry.fault
        if failed != self._expiries_failed:
            self._expiries_failed = failed
            _log.error("sessions cannot be expired and keep their ephemerals: %s; they are tried again", fault)

    async def _read_everything(self) -> None:
        for _ in range(_MAX_SWEEPS):
            if self._poller.sweep():
                return
            await trio.lowlevel.checkpoint()
