"""Following the used segments of the metadata store, through the Coordinator that leads.

They are read after each bump of `…/coord/published`, when the leader changes while a reading is due, when a query lacks
segments, and every minute in case a bump was lost. What cannot be read leaves what is known in place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

import httpx2
import trio

from coordserver.client import Client
from druidroles.broker.json_array import JsonArrayDecoder
from druidroles.coordination.changes import Revision
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.paths import DruidPaths
from druidroles.http.streaming import open_body
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

PERIOD_S = 60.0
RETRY_S = 1.0
READ_S = 60.0  # one reading, start to end
_SEGMENTS = "/druid/coordinator/v1/metadata/segments"

SetUsed = Callable[[Collection[str], int], Awaitable[None]]


class UsedSegmentsFeed:
    """Reads the used segments and hands their ids on, with the mark that the view had when the reading began."""

    def __init__(
        self, http: httpx2.AsyncClient, coordinators: LeaderView, mark: Callable[[], int], set_used: SetUsed
    ) -> None:
        self.done = Revision()  # the number of the newest reading that succeeded
        self._http = http
        self._coordinators = coordinators
        self._mark = mark
        self._set_used = set_used
        self._begun = 0
        self._wanted = trio.Event()
        self._wanted.set()

    async def refresh(self) -> None:
        """Wait for a reading that begins after this call; for ever, while none succeeds."""
        self._wanted.set()
        await self.done.passed(self._begun)

    async def run(self) -> None:
        """Read when it is due, for ever."""
        failing = False
        while True:
            with trio.move_on_after(PERIOD_S):
                await self._wanted.wait()
            self._wanted = trio.Event()
            seen = self._coordinators.revision.value
            fault = await self._read()
            if fault is None:
                failing = False
                continue
            (log.debug if failing else log.warning)("the used segments cannot be read: %s", fault)
            failing = True
            self._wanted.set()
            with trio.move_on_after(RETRY_S):
                await self._coordinators.changed(seen)

    async def follow_bumps(self, zk: Client, paths: DruidPaths) -> None:
        """Want a reading after each publish, and each change of what is used, for ever."""
        async with zk.watch(paths.coord_published) as events:
            while True:
                await events.next_batch()
                self._wanted.set()

    async def _read(self) -> str | None:
        """Read once; what went wrong, or None."""
        self._begun += 1
        number, mark, url = self._begun, self._mark(), self._coordinators.url
        if url is None:
            return "no Coordinator leads"
        try:
            with trio.fail_after(READ_S):
                ids = await self._fetch(url + _SEGMENTS)
        except (httpx2.HTTPError, ValueError, trio.TooSlowError) as fault:
            return f"{url}: {fault or type(fault).__name__}"
        await self._set_used(ids, mark)
        self.done.value = number - 1
        self.done.bump()
        return None

    async def _fetch(self, url: str) -> set[str]:
        """The ids of all used segments. Raises HTTPError or ValueError."""
        decoder = JsonArrayDecoder()
        ids: set[str] = set()
        async with self._http.stream("GET", url) as response:
            if response.status_code != httpx2.codes.OK:
                raise ValueError(f"HTTP status {response.status_code}")
            async with open_body(response) as pieces:
                async for data in pieces:
                    ids.update(_id(item) for item in decoder.feed(data))
                    await trio.lowlevel.checkpoint()
            ids.update(_id(item) for item in decoder.feed(b"", final=True))
        return ids


def _id(item: dict[str, object]) -> str:
    """A segment's id: written out by Druid and by us; made from the other fields where it is not. ModelError if so."""
    written = item.get("identifier")
    return written if isinstance(written, str) else DataSegment.from_json(item).id
