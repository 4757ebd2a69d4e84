"""Reading the metadata store: when a term begins, when something was published, and now and then as a safety net."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from coordserver.client import Client
from druidroles.coordination.paths import DruidPaths
from druidroles.coordinator.dynamic_config import CONFIG_NAME
from druidroles.metadata import MetadataError, MetadataStore, StoredRules, UnreadableRowError
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

RETRY_S = 1.0
READ_AGAIN_S = 0.2  # at the least, between two reads that nobody waits for


@attrs.frozen
class MetadataSnapshot:
    """What the store held: used segments, rules and the dynamic configuration. `read_ms` is when reading *began*.

    `config_fault` says why the stored configuration cannot be read; then `config` is None.
    """

    segments: Sequence[DataSegment]
    rules: StoredRules
    read_ms: int
    config: Any = None
    config_fault: str | None = None


class MetadataPoller:
    """Reads on demand; `deliver` gets every snapshot, in the order in which they were read."""

    def __init__(
        self,
        store: MetadataStore,
        known: Callable[[], Mapping[str, DataSegment]],
        deliver: Callable[[MetadataSnapshot], Awaitable[None]],
    ) -> None:
        self._store = store
        self._known = known
        self._deliver = deliver
        self._reading = trio.Lock()
        self._begun = 0
        self._finished = 0  # the newest reading that succeeded
        self._wanted = trio.Event()

    def want(self) -> None:
        """Have it read soon."""
        self._wanted.set()

    async def refresh(self) -> None:
        """Return after a reading that began after this call; all who ask meanwhile share one. Raises MetadataError."""
        asked = self._begun
        async with self._reading:
            if self._finished > asked:
                return
            self._begun += 1
            number = self._begun
            read_ms = round(trio.current_time() * 1000)
            segments = await self._store.used_segments(self._known())
            rules = await self._store.rules()
            config, config_fault = None, None
            try:
                config = await self._store.config(CONFIG_NAME)
            except UnreadableRowError as error:
                config_fault = str(error)
            await self._deliver(MetadataSnapshot(segments, rules, read_ms, config, config_fault))
            self._finished = number

    async def first(self) -> None:
        """Read once, however long it takes until the store can be read."""
        while True:
            try:
                await self.refresh()
            except MetadataError as error:
                log.error("cannot read the metadata store: %s", error)
                await trio.sleep(RETRY_S)
            else:
                return

    async def run(self, period_s: float) -> None:
        """Read when wanted, and at least once a period, for ever."""
        while True:
            with trio.move_on_after(period_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            await self.first()
            await trio.sleep(READ_AGAIN_S)

    async def follow(self, zk: Client, paths: DruidPaths) -> None:
        """Read whenever somebody tells that he has published, for ever."""
        async with zk.watch(paths.coord_published) as events:
            self.want()  # what was told before the watch stood
            async for _ in events:
                self.want()
