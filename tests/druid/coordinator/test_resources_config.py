"""The dynamic configuration over HTTP, what it does at once, and what is honestly not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical

from druidroles.metadata import Audit, LeaderEpoch
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


async def test_it_is_stored_with_its_author_and_kept_by_the_next_leader(house: Any, ready: Any) -> None:
    async with house.coordinator() as first:
        await ready(first)
        assert (await first.get("/config"))["maxSegmentsToMove"] == 100
        headers = {"X-Druid-Author": "ann", "X-Druid-Comment": "calm"}
        for number in (5, 6):
            answer = await first.http.post(f"{ROOT}/config", json={"maxSegmentsToMove": number}, headers=headers)
            assert answer.status_code == 200
        newest, older = await first.get("/config/history")
        assert newest["auditInfo"] == {"author": "ann", "comment": "calm", "ip": ""}
        assert (newest["key"], newest["type"]) == ("coordinator.config", "coordinator.config")
        assert '"maxSegmentsToMove":6' in newest["payload"]
        assert '"maxSegmentsToMove":5' in older["payload"]
        assert len(await first.get("/config/history?count=1")) == 1
        assert await first.get("/config/history?interval=2000-01-01/2000-01-02") == []
        for bad in ("0", "-1", "²", "9" * 5_000):
            assert (await first.http.get(f"{ROOT}/config/history?count={bad}")).status_code == 400
    async with house.coordinator(8181) as second:
        await ready(second)
        assert (await second.get("/config"))["maxSegmentsToMove"] == 6


@pytest.mark.parametrize(
    ("body", "named"),
    [({"maxSegmentsToMove": "many"}, "maxSegmentsToMove"), ({"nonsense": 1}, "nonsense"), ([], "configuration")],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(house: Any, ready: Any, body: Any, named: str) -> None:
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        answer = await coordinator.http.post(f"{ROOT}/config", json=body)
        assert answer.status_code == 400
        assert named in answer.json()["errorMessage"]
        assert await house.store.config("coordinator.config") is None


async def test_a_stored_configuration_that_cannot_be_read_changes_nothing(house: Any, ready: Any) -> None:
    writer = LeaderEpoch(role="coordinator", epoch=1)
    await house.store.raise_epoch(writer)
    await house.store.set_config(writer, "coordinator.config", {"maxSegmentsToMove": "?"}, Audit())
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        assert (await coordinator.get("/config"))["maxSegmentsToMove"] == 100


async def test_a_paused_coordinator_answers_and_orders_nothing_until_it_goes_on(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    async with fake_historical(house.address, "h1:8083") as one, house.coordinator() as coordinator:
        await ready(coordinator)
        await coordinator.http.post(f"{ROOT}/config", json={"pauseCoordination": True})
        await house.publish(*days(range(3)))
        assert len(await coordinator.get("/metadata/segments")) == 3
        assert one.requests == []
        await coordinator.http.post(f"{ROOT}/config", json={"pauseCoordination": False})

        async def served() -> bool:
            return len(one.served) == 3

        await until(served)


async def test_a_server_is_emptied_at_once_and_filled_again(house: Any, days: Days, ready: Any, until: Until) -> None:
    await house.publish(*days(range(6)))
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083") as two,
        fake_historical(house.address, "h3:8083") as three,
        house.coordinator() as coordinator,
    ):
        await ready(coordinator)
        servers = (one, two, three)

        async def twelve() -> bool:
            return sum(len(server.served) for server in servers) == 12

        async def emptied() -> bool:
            return not one.served and await twelve()

        async def even() -> bool:
            return all(server.served for server in servers) and await twelve()

        await until(even)
        await coordinator.http.post(f"{ROOT}/config", json={"decommissioningNodes": ["h1:8083"]})
        await until(emptied)
        assert await coordinator.get("/loadstatus?full") == {"_default_tier": {"wiki": 0}}
        await coordinator.http.post(f"{ROOT}/config", json={"decommissioningNodes": []})
        await until(even)


COMPACTION = {
    "compactionConfigs": [],
    "compactionTaskSlotRatio": 0.1,
    "maxCompactionTaskSlots": 2147483647,
    "useAutoScaleSlots": False,
}
NO_LOOKUPS = {"error": "No lookups found"}


async def test_what_nobody_configured_is_answered_as_by_a_druid_without_it(house: Any, ready: Any) -> None:
    """Druid's processes ask for lookups at their start and try again for minutes if the answer is not 404."""
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        for path, status, body in (
            ("/lookups/config", 404, None),
            ("/lookups/config?discover=true", 200, []),
            ("/lookups/config/all", 404, NO_LOOKUPS),
            ("/lookups/config/__default?detailed=true", 404, NO_LOOKUPS),
            ("/lookups/config/__default/one", 404, NO_LOOKUPS),
            ("/lookups/status", 404, NO_LOOKUPS),
            ("/lookups/nodeStatus", 404, NO_LOOKUPS),
            ("/config/compaction", 200, COMPACTION),
            ("/config/compaction/wiki", 404, None),
            ("/config/compaction/wiki/history", 200, []),
            ("/compaction/status", 200, {"latestStatus": []}),
            ("/compaction/status?dataSource=wiki", 404, {"error": "unknown dataSource"}),
            ("/compaction/progress", 400, {"error": "No DataSource specified"}),
            ("/compaction/progress?dataSource=wiki", 404, {"error": "unknown dataSource"}),
        ):
            answer = await coordinator.http.get(ROOT + path)
            assert (answer.status_code, answer.json() if answer.content else None) == (status, body), path


@pytest.mark.parametrize("path", ["/config/compaction", "/config/compaction/taskslots", "/lookups/config"])
async def test_what_would_configure_what_is_not_there_is_refused(house: Any, ready: Any, path: str) -> None:
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        answer = await coordinator.http.post(ROOT + path, json={})
        assert answer.status_code == 501
        assert answer.json()["error"] == "Unsupported operation"


async def test_the_configuration_has_all_keys_of_druid(house: Any, ready: Any) -> None:
    """Those too that mean nothing here; what is read may be posted again."""
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        told = await coordinator.get("/config")
        assert {"mergeBytesLimit", "mergeSegmentsLimit", "killPendingSegmentsSkipList", "debugDimensions"} <= set(told)
        assert (await coordinator.http.post(f"{ROOT}/config", json=told)).status_code == 200
        assert await coordinator.get("/config") == told
