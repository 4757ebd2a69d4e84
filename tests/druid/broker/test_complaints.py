"""What users of Druid complain of, by the number of the thread: as it is here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from broker_world import BASE, COUNT, COUNT_QUERY, World
from http_servers import dead_port, serve_http
from made_segments import make_segment
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordserver.client import Client, connect
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.paths import DruidPaths
from druidroles.model.server import DruidServerMetadata
from druidroles.query.relation import Piece

TWO_DAYS, THREE_DAYS = 1639, 2556  # rows of the shipped data
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
async def world(zk: Client, paths: DruidPaths, tmp_path: Path) -> AsyncIterator[World]:
    """An empty tree."""
    async with trio.open_nursery() as nursery:
        world = World(zk, paths, tmp_path, nursery)
        async with world.http:
            yield world
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_558_a_dead_historical_is_not_picked_again_and_again(world: World, flights: list[Piece]) -> None:
    """It is announced, because its session lives, but it fails whoever asks: no query does, and it is left alone."""
    asked = 0

    async def fail(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return JSONResponse({"error": "Unknown exception", "errorMessage": "a disk is gone"}, status_code=500)

    await world.data_server(flights[:3])
    segments = [piece.served.segment for piece in flights[:3]]
    async with serve_http([Route("/druid/v2", fail, methods=["POST"])]) as sick:
        metadata = DruidServerMetadata(sick.host_port, host=sick.host_port, priority=9)  # liked best
        async with announced_server(world.zk, world.paths, metadata, segments):
            await world.broker()
            first = await world.ask(COUNT_QUERY)
            assert first[0]["result"]["n"] == THREE_DAYS
            assert asked == 1
            for _ in range(10):
                assert await world.ask(COUNT_QUERY) == first
            assert asked <= 2  # once more, if a second has passed meanwhile


async def test_558_nor_one_whose_port_is_closed(world: World, flights: list[Piece]) -> None:
    await world.data_server(flights[:2])
    dead = await dead_port()
    metadata = DruidServerMetadata(dead, host=dead, priority=9)
    async with announced_server(world.zk, world.paths, metadata, [piece.served.segment for piece in flights[:2]]):
        await world.broker()
        for _ in range(5):
            assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == TWO_DAYS


@pytest.mark.parametrize("number", [5120, 4770])
async def test_no_wrong_results_at_start(world: World, flights: list[Piece], number: int) -> None:
    """A Broker answers nobody before it knows everything that is announced; `World.broker` asks it too early."""
    await world.data_server(flights[:2])
    await world.data_server(flights[2:3])
    await world.broker()
    assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == THREE_DAYS


async def test_6518_a_broker_without_coordination_servers_says_how_old_its_view_is(
    tmp_path: Path, flights: list[Piece], paths: DruidPaths, eventually: Eventually
) -> None:
    (tmp_path / "tree").mkdir()
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def serve(port: int, until: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
            async with embedded_server(tmp_path / "tree", port=port) as handle:
                task_status.started(handle)
                await until.wait()

        handle = await nursery.start(serve, 0, stop)
        async with connect(handle.address, session_timeout=30) as zk:
            for path in paths.layout():
                await zk.ensure_path(path)
            world = World(zk, paths, tmp_path, nursery)
            async with world.http:
                await world.data_server(flights[:2])
                await world.broker()
                right = await world.post(COUNT_QUERY)
                assert "X-Coord-View-Stale" not in right.headers
                stop.set()

                async def told() -> bool:
                    answer = await world.post(COUNT_QUERY)
                    assert answer.json() == right.json()  # what is served stays served
                    return float(answer.headers.get("X-Coord-View-Stale", "0")) > 0

                await eventually(told)
                again = trio.Event()
                await nursery.start(serve, handle.addresses[0].port, again)

                async def fresh() -> bool:
                    return "X-Coord-View-Stale" not in (await world.post(COUNT_QUERY)).headers

                await eventually(fresh)
                nursery.cancel_scope.cancel(reason="seen")


async def test_6647_the_watches_of_a_process_do_not_grow_with_the_others(
    zk: Client, other: Client, paths: DruidPaths
) -> None:
    """Druid's were over a hundred million. Here a view has one on each subtree, and a server two for its own znodes."""

    async def watches(servers: int) -> tuple[int, int]:
        async with trio.open_nursery() as nursery:

            async def announce(number: int, *, task_status: trio.TaskStatus[None]) -> None:
                metadata = DruidServerMetadata(f"10.0.0.{number}:8083")
                segments = [make_segment(number * 100 + day) for day in range(60)]
                async with announced_server(other, paths, metadata, segments):
                    task_status.started()
                    await trio.sleep_forever()

            for number in range(servers):
                await nursery.start(announce, number)
            async with ServerInventory(zk, paths) as view:
                await view.wait_synced()
                assert len(view.servers) == servers
                found = len(list(zk._session.watches)), len(list(other._session.watches))
            nursery.cancel_scope.cancel(reason="counted")
        return found

    assert await watches(1) == (2, 2)
    assert await watches(10) == (2, 20)


@pytest.mark.parametrize("number", [6597, 8332])
async def test_a_directory_that_vanishes_orphans_no_watch(
    zk: Client, other: Client, paths: DruidPaths, number: int
) -> None:
    """Druid's was a container that the server reaped when it was empty; the cache on it was deaf from then on."""
    for path in paths.layout():
        stat = await zk.exists(path)
        assert stat is not None
        assert stat.ephemeral_owner == 0  # persistent, no container: those have an owner of their own kind
    async with ServerInventory(zk, paths) as view:
        await view.wait_synced()
        for directory in (paths.announcements, paths.segments):
            await other.delete_tree(directory)
            await other.ensure_path(directory)
        async with announced_server(other, paths, DruidServerMetadata("10.0.0.1:8083"), [make_segment(1)]):
            while not view.segments_of("10.0.0.1:8083"):
                await view.changed()


@pytest.mark.parametrize("number", [6176, 5331])
async def test_one_bad_server_does_not_keep_a_broker_from_starting(
    world: World, flights: list[Piece], number: int
) -> None:
    """An announcement, batches and directories of garbage: reported, skipped, and the rest is served."""
    bad = "10.0.0.9:8083"
    await world.zk.create(world.paths.announcement(bad), b"\x1f\x8bcut short", ephemeral=True)
    for name, data in (("b0", b"[1, 2"), ("b1", b"{}"), ("b2", b"")):
        await world.zk.create(f"{world.paths.segments_of(bad)}/{name}", data, makepath=True)
    await world.zk.create(f"{world.paths.segments_of(bad)}/b0/below/that", b"x", makepath=True)
    await world.data_server(flights[:2])
    await world.broker()
    assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == TWO_DAYS


async def test_without_a_coordinator_what_is_served_stays_served(world: World, flights: list[Piece]) -> None:
    """There never was one, and none comes: nothing is known of what is used, and nothing is missing."""
    _, lost = await world.data_server(flights[:1])
    await world.data_server(flights[:2])
    await world.broker()
    lost.cancel()
    query = {"queryType": "timeseries", **BASE, "aggregations": [COUNT]}
    for _ in range(5):
        assert (await world.ask(query))[0]["result"]["n"] == TWO_DAYS
