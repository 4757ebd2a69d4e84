"""What users complain of in Druid's Coordinator, each by its number, and what happens here instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from fake_historicals import fake_historical

from coordserver.client import TransactionFailedError
from druidroles.coordination.load_queue import LoadQueueWriter
from druidroles.coordinator.loading import load_queue_peon as executor_module
from druidroles.coordinator.loading.orders import PER_SERVER
from druidroles.metadata import StaleEpochError
from druidroles.model.change_request import ChangeRequest, CoordMark
from druidroles.model.segment import DataSegment

ROOT = "/druid/coordinator/v1"
Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
def ready(until: Until) -> Callable[[Any], Awaitable[None]]:
    """Waits until a Coordinator leads and answers."""

    async def wait(coordinator: Any) -> None:
        async def check() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(check)

    return wait


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests become late within a moment."""
    monkeypatch.setattr(executor_module, "SWEEP_MS", 20)
    monkeypatch.setattr(executor_module, "SWEEP_PAUSE_MS", 10)


async def _queue(server: Any, house: Any) -> list[str]:
    names: list[str] = await server.zk.children(house.paths.load_queue_of(server.name))
    return names


async def _one_copy(house: Any, coordinator: Any) -> None:
    rule = {"type": "loadForever", "tieredReplicants": {"_default_tier": 1}}
    assert (await coordinator.http.post(f"{ROOT}/rules/_default", json=[rule])).status_code == 200


async def test_10193_a_load_that_times_out_is_withdrawn_before_another_server_is_asked(
    house: Any, days: Days, ready: Any, until: Until, quick: None
) -> None:
    """Druid forgot the request while it stood, and placed the segment twice."""
    (segment,) = days([1])
    async with fake_historical(house.address, "h1:8083", obey=False) as stuck, house.coordinator() as coordinator:
        await ready(coordinator)
        await _one_copy(house, coordinator)
        await house.publish(segment)
        await house.tell()

        async def requested() -> bool:
            return await _queue(stuck, house) == [segment.id]

        await until(requested)
        leading = coordinator.role.leading
        async with fake_historical(house.address, "h2:8083") as other:
            leading.view.limits = attrs.evolve(leading.view.limits, load_timeout_ms=50)

            async def loaded_elsewhere() -> bool:
                leading.view.limits = attrs.evolve(leading.view.limits, load_timeout_ms=50)
                return segment.id in other.served

            await until(loaded_elsewhere)
            assert await _queue(stuck, house) == []
            stuck.obey = True
            await stuck.work()
            assert stuck.served == {}
            assert leading.view.cluster.servers["h1:8083"].loading_bytes == 0


async def test_10193_a_load_that_was_begun_and_is_late_still_counts_unless_the_configuration_says_otherwise(
    house: Any, days: Days, ready: Any, until: Until, quick: None
) -> None:
    (segment,) = days([1])
    async with fake_historical(house.address, "h1:8083", obey=False) as slow, house.coordinator() as coordinator:
        await ready(coordinator)
        await _one_copy(house, coordinator)
        await house.publish(segment)
        await house.tell()
        path = house.paths.load_request(slow.name, segment.id)

        async def begun() -> bool:
            if await slow.zk.exists(path) is None:
                return False
            await slow.zk.set(path, (await slow.zk.get(path)).data)
            return True

        await until(begun)
        leading = coordinator.role.leading

        async def late() -> bool:
            leading.view.limits = attrs.evolve(leading.view.limits, load_timeout_ms=50)
            order = leading.executor.orders.of(slow.name, segment.id)
            return order is not None and order.late

        async with fake_historical(house.address, "h2:8083") as other:
            await until(late)
            assert other.requests == []
            await coordinator.http.post(f"{ROOT}/config", json={"replicateAfterLoadTimeout": True})

            async def loaded_elsewhere() -> bool:
                return await late() and segment.id in other.served

            await until(loaded_elsewhere)
            slow.served[segment.id] = segment
            await slow.zk.transaction().set(slow.batch, slow.served_bytes()).delete(path, -1).commit()
            slow.obey = True
            await slow.work()

            async def one_copy() -> bool:
                await slow.work()
                return len(slow.served) + len(other.served) == 1

            await until(one_copy)


async def test_10649_a_failed_load_is_tried_on_another_server_and_its_cause_is_told(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    """In Druid's tree protocol failure looks like success, and the segment was never loaded again."""
    (segment,) = days([1])
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083") as two,
        house.coordinator() as coordinator,
    ):
        await ready(coordinator)
        await _one_copy(house, coordinator)
        one.broken[segment.id] = "the disk is full"
        await house.publish(segment)
        await house.tell()

        async def loaded() -> bool:
            return segment.id in two.served

        await until(loaded)
        assert await _queue(one, house) == []

        async def seen() -> Any:
            told = await coordinator.get(f"/explain/segments/{segment.id}")
            return told if told["servedBy"] == ["h2:8083"] else None

        told = await until(seen)
        failures = {
            s["server"]: s["failure"]["cause"] for s in told["tiers"]["_default_tier"]["servers"] if "failure" in s
        }
        assert failures == {"h1:8083": "the disk is full"}


async def test_15628_a_server_that_joins_while_others_are_being_filled_is_used_at_once(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    async with fake_historical(house.address, "h1:8083", obey=False) as busy, house.coordinator() as coordinator:
        await ready(coordinator)
        await house.publish(*days(range(40)))
        await house.tell()

        async def queued() -> bool:
            return len(await _queue(busy, house)) == 40

        await until(queued)
        async with fake_historical(house.address, "h2:8083") as late:

            async def filled() -> bool:
                return len(late.served) == 40

            await until(filled)
        assert busy.served == {}


async def test_5882_what_is_queued_is_taken_back_when_it_is_not_wanted_any_more(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    """In Druid nothing was ever taken back from a queue."""
    async with fake_historical(house.address, "h1:8083", obey=False) as idle, house.coordinator() as coordinator:
        await ready(coordinator)
        await house.publish(*days(range(2 * PER_SERVER)))
        await house.tell()

        async def queued() -> bool:
            if len(await _queue(idle, house)) != PER_SERVER:
                return False
            return bool((await coordinator.get("/loadqueue?simple"))["h1:8083"]["segmentsToLoad"] == 2 * PER_SERVER)

        await until(queued)
        await coordinator.http.delete(f"{ROOT}/datasources/wiki")

        async def empty() -> bool:
            return (
                await _queue(idle, house) == []
                and not (await coordinator.get("/loadqueue"))["h1:8083"]["segmentsToLoad"]
            )

        await until(empty)
        idle.obey = True
        await idle.work()
        assert idle.served == {}


async def test_10808_a_long_queue_stays_short_in_the_tree_and_is_worked_off_whole(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    """A queue of 17 MB of names could not be listed any more, and the server reconnected for ever."""
    count = PER_SERVER + 80
    longest = 0
    async with fake_historical(house.address, "h1:8083", obey=False) as server, house.coordinator() as coordinator:
        await ready(coordinator)
        await house.publish(*days(range(count)))
        await house.tell()

        async def queued() -> bool:
            return len(await _queue(server, house)) == PER_SERVER

        await until(queued)
        server.obey = True
        await server.work()

        async def done() -> bool:
            nonlocal longest
            longest = max(longest, len(await _queue(server, house)))
            return len(server.served) == count

        await until(done)
        assert longest <= PER_SERVER


async def test_10242_what_a_lost_server_leaves_without_a_copy_is_ordered_first_and_at_once(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    """Hours went by until a lost node's segments were assigned anew."""
    segments = days(range(60))
    alone, shared = segments[:30], segments[30:]
    await house.publish(*segments)
    async with (
        fake_historical(house.address, "h2:8083", *shared, obey=False) as two,
        fake_historical(house.address, "h1:8083", *segments) as one,
        house.coordinator() as coordinator,
    ):
        await ready(coordinator)
        await one.zk.delete(house.paths.announcement(one.name))

        async def ordered() -> bool:
            names = set(await _queue(two, house))
            return {segment.id for segment in alone} <= names

        await until(ordered)


async def test_a_leader_that_was_stopped_in_the_middle_of_assigning_gets_nothing_accepted_afterwards(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    """As after a SIGSTOP: its successor is at work, and it still wants to write what it had in hand."""
    segments = days(range(6))
    async with house.coordinator(8081) as first, fake_historical(house.address, "h1:8083", obey=False) as server:
        await ready(first)
        await house.publish(*segments)
        await house.tell()

        async def requested() -> bool:
            return len(await _queue(server, house)) == 6

        await until(requested)
        old = first.role.leading
        async with house.coordinator(8181) as second:
            await first.cable.cut()

            async def second_leads() -> bool:
                return second.role.leading is not None and second.role.leading.ready

            await until(second_leads)

            async def taken_over() -> bool:
                path = house.paths.load_queue_of(server.name)
                names = await _queue(server, house)
                datas = [(await server.zk.get(f"{path}/{name}")).data for name in names]
                epoch = f'"epoch":{second.role.leading.leader.epoch}'.encode()
                return len(datas) == 6 and all(epoch in data for data in datas)

            await until(taken_over)
            # What the old leader had in hand, through a client that works: the fence alone must refuse it.
            writer = LoadQueueWriter(server.zk, house.paths, old._term)
            (late,) = days([77])
            with pytest.raises(TransactionFailedError) as refused:
                await writer.write([(server.name, ChangeRequest.load(late, CoordMark(old.leader.epoch)))])
            assert refused.value.index == 0
            with pytest.raises(TransactionFailedError):
                await writer.delete({(server.name, segments[0].id): -1})
            with pytest.raises(StaleEpochError):
                await old.set_used([segments[0].id], False)
            assert len(await _queue(server, house)) == 6
            assert len(await house.store.used_segments()) == 6
            first.cable.mend()

            async def stands_by() -> bool:
                return first.role.leading is None

            await until(stands_by)
            await trio.lowlevel.checkpoint()
            assert late.id not in await _queue(server, house)
