"""A whole Broker: a real tree, data servers with real segments, a Coordinator that lists what is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import trio
from http_servers import Served, serve_http
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordserver.client import Client
from druidroles.broker.role import BrokerSettings, build
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.http.client import make_client
from druidroles.model.segment import SegmentDescriptor
from druidroles.model.server import DruidServerMetadata, NodeRole
from druidroles.process import RoleContext, RoleSettings
from druidroles.query.relation import Piece
from druidroles.query.resource import QueryResource
from druidroles.query.source import ServedSegment

INTERVAL = "2013-01-01/2013-02-02"
BASE = {"dataSource": "flights", "intervals": [INTERVAL], "granularity": "all"}
COUNT = {"type": "count", "name": "n"}
COUNT_QUERY = {"queryType": "timeseries", **BASE, "aggregations": [COUNT]}
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Source:
    """What one data server serves."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._served = {piece.descriptor: piece.served for piece in pieces}

    def find(self, data_source: str, descriptor: SegmentDescriptor) -> ServedSegment | None:
        """Pieces of a segment count as it."""
        for known, served in self._served.items():
            same = (known.version, known.partition) == (descriptor.version, descriptor.partition)
            if same and known.interval.contains(descriptor.interval):
                return served
        return None


class World:
    """A Broker and what it sees."""

    def __init__(self, zk: Client, paths: DruidPaths, directory: Path, nursery: trio.Nursery) -> None:
        self.zk = zk
        self.paths = paths
        self.used: list[dict[str, Any]] = []
        self.reads = 0
        self.broker_url = ""
        self.http = httpx2.AsyncClient(timeout=30, trust_env=False)
        self._directory = directory
        self._nursery = nursery

    async def data_server(self, pieces: Sequence[Piece]) -> tuple[Served, trio.CancelScope]:
        """One that serves and announces some segments, until its scope is cancelled."""
        started: tuple[Served, trio.CancelScope] = await self._nursery.start(self._data_server, pieces)
        return started

    async def _data_server(
        self, pieces: Sequence[Piece], *, task_status: trio.TaskStatus[tuple[Served, trio.CancelScope]]
    ) -> None:
        resource = QueryResource(Source(pieces), host="data", temp_dir=self._directory / "tmp")
        with trio.CancelScope() as scope:
            async with serve_http(resource.routes()) as served:
                metadata = DruidServerMetadata(served.host_port, host=served.host_port, max_size=1)
                segments = [piece.served.segment for piece in pieces]
                async with announced_server(self.zk, self.paths, metadata, segments):
                    task_status.started((served, scope))
                    await trio.sleep_forever()
        resource.close()

    async def coordinator(self) -> None:
        """A leading one, which lists `used`."""

        async def segments(request: Request) -> Response:
            self.reads += 1
            return JSONResponse(self.used)

        async def serve(*, task_status: trio.TaskStatus[str]) -> None:
            async with serve_http([Route("/druid/coordinator/v1/metadata/segments", segments)]) as served:
                task_status.started(served.url)
                await trio.sleep_forever()

        url = await self._nursery.start(serve)
        latch = f"{self.paths.coordinator_latch}/_c_x-latch-"
        await self.zk.create(latch, url.encode(), ephemeral=True, sequence=True)

    async def broker(self, own: BrokerSettings | None = None) -> None:
        """Start the Broker; it is ready when this returns."""
        url = CoordUrl.parse("coord://127.0.0.1:1/druid")
        settings = RoleSettings(role=NodeRole.BROKER, coord=url, host="127.0.0.1", port=0, data_dir=self._directory)

        async def live(*, task_status: trio.TaskStatus[str]) -> None:
            async with make_client() as http:
                context = RoleContext(settings, self.zk, self.paths, http, "127.0.0.1:8082")
                role = build(context, own or BrokerSettings())
                async with (
                    serve_http([context.metrics.route(), *role.routes()]) as served,
                    trio.open_nursery() as nursery,
                ):
                    assert (await self.http.get(served.url + "/druid/broker/v1/readiness")).status_code == 503
                    early = await self.http.post(served.url + "/druid/v2", json=COUNT_QUERY)
                    assert early.status_code == 503
                    await nursery.start(role.run)
                    task_status.started(served.url)
                    await trio.sleep_forever()

        self.broker_url = await self._nursery.start(live)

    async def post(self, query: dict[str, Any]) -> httpx2.Response:
        """Ask the Broker."""
        return await self.http.post(self.broker_url + "/druid/v2", json=query)

    async def ask(self, query: dict[str, Any]) -> Any:
        """An answer that must be one."""
        response = await self.post(query)
        assert response.status_code == 200, response.text
        return response.json()

    async def get(self, path: str) -> Any:
        """GET from the Broker."""
        return (await self.http.get(self.broker_url + path)).json()
