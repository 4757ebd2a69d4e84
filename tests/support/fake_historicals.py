"""A Historical as the Coordinator sees one: it announces itself, works off its load queue, and announces segments.

It has no files. What it does with a request can be steered: `obey` set to False leaves requests alone, `broken` names
segments that it fails to load.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from coordserver.client import Client, NoNodeError, TransactionFailedError, connect
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, dumps_gz, loads
from druidroles.model.change_request import Action, ChangeRequest
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata


class FakeHistorical:
    """One server. `served` is what it announces, by id."""

    def __init__(self, zk: Client, paths: DruidPaths, metadata: DruidServerMetadata) -> None:
        self.zk = zk
        self.name = metadata.name
        self.served: dict[str, DataSegment] = {}
        self.requests: list[ChangeRequest] = []
        self.broken: dict[str, str] = {}
        self.obey = True
        self.metadata = metadata
        self._paths = paths
        self._seen: set[tuple[str, int]] = set()

    async def announce(self, *segments: DataSegment) -> None:
        """Announce the server, and what it serves already, in one multi."""
        await self.zk.ensure_path(self._paths.load_queue_of(self.name))
        await self.zk.ensure_path(self._paths.segments_of(self.name))
        self.served = {segment.id: segment for segment in segments}
        transaction = self.zk.transaction()
        transaction.create(self.batch, self.served_bytes(), ephemeral=True)
        transaction.create(self._paths.announcement(self.name), dumps_gz(self.metadata.to_json()), ephemeral=True)
        await transaction.commit()

    @property
    def batch(self) -> str:
        """The znode of its one batch."""
        return f"{self._paths.segments_of(self.name)}/batch0"

    def served_bytes(self) -> bytes:
        """What the batch should hold."""
        return dumps_gz([segment.to_json() for segment in self.served.values()])

    async def run(self) -> None:
        """Work off the queue for ever."""
        root = self._paths.load_queue_of(self.name)
        async with self.zk.watch(root, recursive=True) as events:
            await self.work()
            async for _ in events:
                await self.work()

    async def work(self) -> None:
        """Do what the queue asks for now."""
        for segment_id in await self.zk.children(self._paths.load_queue_of(self.name)) if self.obey else ():
            path = self._paths.load_request(self.name, segment_id)
            try:
                data, stat = await self.zk.get(path)
            except NoNodeError:
                continue
            if (segment_id, stat.czxid) in self._seen:
                continue
            self._seen.add((segment_id, stat.czxid))
            await self._do(path, ChangeRequest.from_json(loads(data)), stat.version)

    async def _do(self, path: str, request: ChangeRequest, version: int) -> None:
        assert request.segment is not None
        assert request.coord is not None
        self.requests.append(request)
        started = attrs.evolve(request, coord=attrs.evolve(request.coord, started_ms=1))
        try:
            await self.zk.set(path, dumps(started.to_json()), version=version)
        except NoNodeError:
            return  # taken back before it was begun
        if request.id in self.broken:
            failed = attrs.evolve(request, coord=attrs.evolve(request.coord, failure=self.broken[request.id]))
            await self.zk.set(path, dumps(failed.to_json()))
            return
        if request.action is Action.LOAD:
            self.served[request.id] = request.segment
        else:
            self.served.pop(request.id, None)
        try:
            await self.zk.transaction().set(self.batch, self.served_bytes()).delete(path, version + 1).commit()
        except TransactionFailedError:
            await self.zk.set(self.batch, self.served_bytes())


@asynccontextmanager
async def fake_historical(
    address: str, name: str, *segments: DataSegment, max_size: int = 10_000, obey: bool = True
) -> AsyncIterator[FakeHistorical]:
    """A running server with a session of its own; it leaves when the block ends."""
    metadata = DruidServerMetadata(name, host=name, max_size=max_size)
    async with connect(address, session_timeout=4, name=name) as zk, trio.open_nursery() as nursery:
        server = FakeHistorical(zk, DruidPaths(), metadata)
        server.obey = obey
        await server.announce(*segments)
        nursery.start_soon(server.run)
        yield server
        nursery.cancel_scope.cancel(reason="the server leaves")
