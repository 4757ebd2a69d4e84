"""A Coordinator from the first read to the load queues, in one loop with a real server and a real store."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from fake_historicals import fake_historical

from druidroles.coordination.payloads import dumps
from druidroles.metadata import Audit, LeaderEpoch, StaleEpochError
from druidroles.model.change_request import ChangeRequest, CoordMark
from druidroles.model.segment import DataSegment

Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
def loaded(until: Until) -> Callable[[Any, int], Awaitable[None]]:
    """Waits until nothing is missing."""

    async def wait(coordinator: Any, segments: int) -> None:
        async def check() -> bool:
            if coordinator.role.leading is None or not coordinator.role.leading.ready:
                return False
            full = await coordinator.get("/loadstatus?full")
            used = len(coordinator.role.leading.view.used)
            return used == segments and not any(n for tier in full.values() for n in tier.values())

        await until(check)

    return wait


async def test_published_segments_are_loaded_twice_each(house: Any, days: Days, loaded: Any) -> None:
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083") as two,
        house.coordinator() as coordinator,
    ):
        await loaded(coordinator, 0)
        await house.publish(*days(range(32)))
        await house.tell()
        await loaded(coordinator, 32)
        assert len(one.served) == len(two.served) == 32
        assert len(one.requests) == len(two.requests) == 32
        epoch = coordinator.role.leading.leader.epoch
        assert {request.coord.epoch for request in one.requests} == {epoch}
        assert await house.store.epochs() == {"coordinator": epoch, "overlord": 1}
        assert await coordinator.get("/loadstatus?simple") == {"wiki": 0}


async def test_a_term_that_is_over_leaves_nothing_in_memory(house: Any, days: Days, loaded: Any) -> None:
    """What it knew is kept from the garbage collection as long as it leads, and no longer."""
    await house.publish(*days(range(8)))
    async with (
        fake_historical(house.address, "h1:8083"),
        fake_historical(house.address, "h2:8083"),
        house.coordinator() as coordinator,
    ):
        await loaded(coordinator, 8)
        assert gc.get_freeze_count() > 0
        view = weakref.ref(coordinator.role.leading.view)
    gc.collect()
    assert view() is None


async def test_a_segment_without_a_copy_is_loaded_elsewhere_at_once_and_replicas_after_the_grace(
    house: Any, days: Days, loaded: Any, until: Until
) -> None:
    await house.publish(*days(range(4)))
    async with (
        fake_historical(house.address, "h1:8083") as one,
        house.coordinator() as coordinator,
        fake_historical(house.address, "h3:8083", obey=False) as three,
    ):
        async with fake_historical(house.address, "h2:8083") as two:

            async def both_have_all() -> bool:
                return len(one.served) + len(two.served) >= 4 and len(coordinator.role.leading.view.used) == 4

            await until(both_have_all)
            three.obey = True
            await three.work()
            await loaded(coordinator, 4)

        async def two_has_left() -> bool:
            return bool(await coordinator.get("/servers") == ["h1:8083", "h3:8083"])

        await until(two_has_left)
        await loaded(coordinator, 4)
        assert len(one.served) == len(three.served) == 4


async def test_a_failed_load_is_told_removed_and_tried_elsewhere(
    house: Any, days: Days, loaded: Any, until: Until
) -> None:
    (segment,) = days([1])
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083") as two,
        house.coordinator() as coordinator,
    ):
        await loaded(coordinator, 0)
        one.broken[segment.id] = two.broken[segment.id] = "no such file"
        await house.publish(segment)
        await house.tell()

        async def both_failed() -> bool:
            failures = coordinator.role.leading.view.failures.of_segment(segment.id)
            return {name: failure.cause for name, failure in failures.items()} == {
                "h1:8083": "no such file",
                "h2:8083": "no such file",
            }

        await until(both_failed)

        async def requests_are_gone() -> bool:
            queues = [await one.zk.children(house.paths.load_queue_of(s.name)) for s in (one, two)]
            return not any(queues)

        await until(requests_are_gone)
        assert await coordinator.get("/loadstatus?simple") == {"wiki": 1}
        async with fake_historical(house.address, "h3:8083") as three:

            async def available() -> bool:
                return bool(await coordinator.get("/loadstatus?simple") == {"wiki": 0})

            await until(available)
            assert list(three.served) == [segment.id]


async def test_a_load_not_begun_is_taken_back_when_the_segment_is_used_no_more(
    house: Any, days: Days, until: Until
) -> None:
    await house.publish(*days(range(3)))
    async with fake_historical(house.address, "h1:8083", obey=False) as one, house.coordinator() as coordinator:
        queue = house.paths.load_queue_of(one.name)

        async def count(wanted: int) -> bool:
            return len(await one.zk.children(queue)) == wanted

        await until(lambda: count(3))
        assert (await coordinator.get("/loadqueue?simple"))["h1:8083"]["segmentsToLoad"] == 3
        begun = days([0])[0]
        await one.zk.set(house.paths.load_request(one.name, begun.id), (await _request(one, house, begun)))

        async def start_is_seen() -> bool:
            loading = coordinator.role.leading.view.cluster.servers[one.name].loading
            return bool(loading[begun.id].started)

        await until(start_is_seen)
        response = await coordinator.http.delete("/druid/coordinator/v1/datasources/wiki")
        assert response.json() == {"numChangedSegments": 3}
        await until(lambda: count(1))
        assert await one.zk.children(queue) == [begun.id]


async def _request(server: Any, house: Any, segment: DataSegment) -> bytes:
    data: bytes = (await server.zk.get(house.paths.load_request(server.name, segment.id))).data
    return data


async def test_unused_segments_are_dropped_and_surplus_copies_too(
    house: Any, days: Days, loaded: Any, until: Until
) -> None:
    segments = days(range(3))
    await house.publish(*segments)
    (orphan,) = days([9])
    async with (
        fake_historical(house.address, "h1:8083", *segments, orphan) as one,
        fake_historical(house.address, "h2:8083", *segments) as two,
        fake_historical(house.address, "h3:8083", *segments) as three,
        house.coordinator() as coordinator,
    ):

        async def settled() -> bool:
            return len(one.served) + len(two.served) + len(three.served) == 6

        await until(settled)
        assert orphan.id not in one.served
        await loaded(coordinator, 3)


async def test_another_coordinator_leads_when_the_leader_is_cut_off_and_the_old_one_is_refused(
    house: Any, days: Days, loaded: Any, until: Until
) -> None:
    async with house.coordinator(8081) as first, fake_historical(house.address, "h1:8083", obey=False) as server:
        await loaded(first, 0)
        async with house.coordinator(8181) as second:
            old = first.role.leading
            await house.publish(*days(range(3)))
            await house.tell()
            queue = house.paths.load_queue_of(server.name)

            async def requested() -> bool:
                return len(await server.zk.children(queue)) == 3

            await until(requested)
            # The first of them is begun by the server, so that the successor must leave it alone.
            begun = sorted(await server.zk.children(queue))[0]
            await server.zk.set(f"{queue}/{begun}", (await server.zk.get(f"{queue}/{begun}")).data)
            await first.cable.cut()

            async def second_leads() -> bool:
                return second.role.leading is not None

            await until(second_leads)
            new = second.role.leading
            assert new.leader.epoch > old.leader.epoch
            with pytest.raises(StaleEpochError):
                await old.set_used([days([0])[0].id], False)
            first.cable.mend()

            async def first_stands_by() -> bool:
                return first.role.leading is None

            await until(first_stands_by)
            server.obey = True
            await server.work()

            async def all_served() -> bool:
                return len(server.served) == 3

            await until(all_served)
            epochs = {request.coord.epoch for request in server.requests if request.coord is not None}
            assert new.leader.epoch in epochs

            async def redirected() -> str | None:
                response = await first.http.get("/druid/coordinator/v1/loadstatus?simple")
                assert response.status_code in (307, 503)
                return response.headers.get("Location")

            assert await until(redirected) == "http://127.0.0.1:8181/druid/coordinator/v1/loadstatus?simple"


async def test_a_graceful_stop_hands_over_and_the_queued_requests_are_written_again(
    house: Any, days: Days, until: Until
) -> None:
    await house.publish(*days(range(3)))
    async with fake_historical(house.address, "h1:8083", obey=False) as server:
        async with house.coordinator(8081) as first:

            async def requested() -> bool:
                return len(await server.zk.children(house.paths.load_queue_of(server.name))) == 3

            await until(requested)
            old_epoch = first.role.leading.leader.epoch
        async with house.coordinator(8181) as second:
            await until(requested)
            server.obey = True
            await server.work()

            async def all_served() -> bool:
                return len(server.served) == 3

            await until(all_served)
            assert {request.coord.epoch > old_epoch for request in server.requests if request.coord} == {True}

            async def known() -> bool:
                return bool(await second.get("/loadstatus?simple") == {"wiki": 0})

            await until(known)


async def test_a_connection_lost_for_a_moment_pauses_the_leader_and_does_not_depose_it(
    house: Any, days: Days, loaded: Any
) -> None:
    async with fake_historical(house.address, "h1:8083") as one, house.coordinator() as coordinator:
        await loaded(coordinator, 0)
        epoch = coordinator.role.leading.leader.epoch
        await coordinator.cable.cut()
        async with fake_historical(house.address, "h2:8083") as two:
            await house.publish(*days(range(5)))
            await house.tell()
            coordinator.cable.mend()
            await loaded(coordinator, 5)
            assert coordinator.role.leading.leader.epoch == epoch
            assert len(one.served) == len(two.served) == 5


async def test_a_new_leader_counts_what_a_server_has_begun_for_its_predecessor(
    house: Any, days: Days, loaded: Any
) -> None:
    """The fuller server, which the planner would not choose, is already loading the only copy that is wanted."""
    served, wanted = days(range(2))
    await house.publish(served, wanted)
    await house.store.raise_epoch(LeaderEpoch(role="coordinator", epoch=1))
    rule = {"type": "loadForever", "tieredReplicants": {"_default_tier": 1}}
    await house.store.set_rules(LeaderEpoch(role="coordinator", epoch=1), "wiki", [rule], Audit())
    unbalanced = {"smartSegmentLoading": False, "maxSegmentsToMove": 0}
    await house.store.set_config(LeaderEpoch(role="coordinator", epoch=1), "coordinator.config", unbalanced, Audit())
    async with (
        fake_historical(house.address, "h1:8083", served, obey=False) as one,
        fake_historical(house.address, "h2:8083") as two,
    ):
        path = house.paths.load_request(one.name, wanted.id)
        request = dumps(ChangeRequest.load(wanted, CoordMark(1, started_ms=1)).to_json())
        await one.zk.create(path, request, ephemeral=True)
        await one.zk.set(path, request)
        async with house.coordinator() as coordinator:
            await coordinator_is_ready(coordinator)
            assert (await coordinator.get("/loadqueue"))[one.name]["segmentsToLoad"] == [wanted.id]
            one.served[wanted.id] = wanted
            await one.zk.transaction().set(one.batch, one.served_bytes()).delete(path, 1).commit()
            await loaded(coordinator, 2)
            assert two.requests == []


async def coordinator_is_ready(coordinator: Any) -> None:
    while True:
        if coordinator.role.leading is not None and coordinator.role.leading.ready:
            return
        await trio.sleep(0.01)
