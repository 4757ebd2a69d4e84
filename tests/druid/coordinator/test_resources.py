"""The Coordinator's HTTP resources: shapes and status codes are Druid's, metadata is read anew, bad input is named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical

from coordserver.client import connect
from druidroles.coordination.discovery import announce_node
from druidroles.metadata import LeaderEpoch, StoredRules
from druidroles.model.segment import DataSegment
from druidroles.model.server import DiscoveryDruidNode, DruidNode, NodeRole

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


async def test_what_the_leader_tells_of_a_loaded_cluster(house: Any, days: Days, ready: Any, until: Until) -> None:
    segments = days(range(2))
    await house.publish(*segments)
    async with (
        connect(house.address) as zk,
        announce_node(
            zk,
            house.paths,
            DiscoveryDruidNode(DruidNode("druid/broker", "127.0.0.1", 8082), NodeRole.BROKER),
        ),
        fake_historical(house.address, "h1:8083") as one,
        house.coordinator() as coordinator,
    ):
        await ready(coordinator)

        async def served() -> bool:
            return bool(await coordinator.get("/loadstatus?simple") == {"wiki": 0})

        await until(served)
        ids = sorted(one.served)
        assert await coordinator.get("/isLeader") == {"leader": True}
        assert (await coordinator.http.get(f"{ROOT}/leader")).text == "http://127.0.0.1:8081"
        assert await coordinator.get("/loadstatus") == {"wiki": 100.0}
        assert await coordinator.get("/loadstatus?full") == {"_default_tier": {"wiki": 2}}
        assert await coordinator.get("/datasources") == ["wiki"]
        assert await coordinator.get("/datasources/wiki/loadstatus?forceMetadataRefresh=true&simple") == {"wiki": 0}
        assert await coordinator.get("/datasources/wiki/loadstatus?forceMetadataRefresh=false") == {"wiki": 100.0}
        none = await coordinator.http.get(f"{ROOT}/datasources/other/loadstatus?forceMetadataRefresh=true")
        assert none.status_code == 204
        early = await coordinator.http.get(f"{ROOT}/datasources/wiki/loadstatus?interval=1950-01-01_1950-01-02")
        assert (early.status_code, early.text) == (200, "No used segment found for the given datasource and interval")
        assert await coordinator.get("/loadqueue") == {"h1:8083": {"segmentsToLoad": [], "segmentsToDrop": []}}
        assert await coordinator.get("/loadqueue?simple") == {
            "h1:8083": {
                "segmentsToLoad": 0,
                "segmentsToDrop": 0,
                "segmentsToLoadSize": 0,
                "segmentsToDropSize": 0,
            }
        }
        simple = {
            "host": "h1:8083",
            "tier": "_default_tier",
            "type": "historical",
            "priority": 0,
            "currSize": 20,
            "maxSize": 10_000,
        }
        assert await coordinator.get("/servers") == ["h1:8083"]
        assert await coordinator.get("/servers?simple") == [simple]
        full = await coordinator.get("/servers/h1:8083")
        assert sorted(full.pop("segments")) == ids
        assert full == {key: value for key, value in simple.items() if key != "currSize"}
        assert (await coordinator.http.get(f"{ROOT}/servers/h9:8083")).status_code == 404
        assert await coordinator.get("/tiers?simple") == {"_default_tier": {"currSize": 20, "maxSize": 10_000}}
        cluster = await coordinator.get("/cluster")
        assert cluster["broker"] == [{"host": "127.0.0.1", "service": "druid/broker", "plaintextPort": 8082}]
        assert cluster["historical"] == []
        assert "router" not in cluster


async def test_metadata_is_read_anew_with_what_is_overshadowed(house: Any, days: Days, ready: Any) -> None:
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        assert await coordinator.get("/metadata/segments") == []
        old, new = days([0, 1]), days([1], "2024-02-01T00:00:00.000Z")
        await house.publish(*old)
        await house.publish(*new)
        assert await coordinator.get("/metadata/datasources") == ["wiki"]
        found = await coordinator.get("/metadata/segments?includeOvershadowedStatus")
        assert {item["identifier"]: item["overshadowed"] for item in found} == {
            old[0].id: False,
            old[1].id: True,
            new[0].id: False,
        }
        wanted = {item["identifier"]: item["replicationFactor"] for item in found}
        assert wanted == {old[0].id: 2, old[1].id: None, new[0].id: 2}
        assert DataSegment.from_json(found[0]).load_spec == old[0].load_spec
        assert await coordinator.get("/metadata/segments?datasources=other") == []
        assert await coordinator.get("/metadata/datasources/wiki/segments") == sorted(s.id for s in [*old, *new])
        many = await coordinator.get("/metadata/datasources/wiki/segments?full")
        assert len(many) == 3
        assert (await coordinator.http.get(f"{ROOT}/metadata/datasources/other/segments")).status_code == 404


@pytest.mark.parametrize("count", [49, 50, 51, 100])
async def test_a_long_list_is_one_json_array(house: Any, days: Days, ready: Any, count: int) -> None:
    await house.publish(*days(range(count)))
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        assert len(await coordinator.get("/metadata/segments")) == count


async def test_rules_are_set_with_their_author_and_act_at_once(
    house: Any, days: Days, ready: Any, until: Until
) -> None:
    await house.publish(*days(range(2)))
    async with fake_historical(house.address, "h1:8083") as one, house.coordinator() as coordinator:
        await ready(coordinator)
        default = {"tieredReplicants": {"_default_tier": 2}, "useDefaultTierForNull": True, "type": "loadForever"}
        assert await coordinator.get("/rules") == {"_default": [default]}
        assert await coordinator.get("/rules/wiki") == []
        assert await coordinator.get("/rules/wiki?full") == [default]

        async def served(count: int) -> bool:
            return len(one.served) == count

        await until(lambda: served(2))
        rules = [{"type": "loadForever", "tieredReplicants": {}}]
        headers = {"X-Druid-Author": "ann", "X-Druid-Comment": "cold"}
        response = await coordinator.http.post(f"{ROOT}/rules/wiki", json=rules, headers=headers)
        assert response.status_code == 200
        assert await coordinator.get("/rules/wiki") == rules
        await until(lambda: served(0))
        (entry,) = await coordinator.get("/rules/wiki/history")
        assert entry["auditInfo"] == {"author": "ann", "comment": "cold", "ip": ""}


@pytest.mark.parametrize(
    ("body", "named"),
    [({"type": "loadForever"}, "array"), ([{"type": "loadForever", "tieredReplicants": {"hot": "two"}}], "hot")],
)
async def test_a_bad_rule_is_refused_and_nothing_is_stored(house: Any, ready: Any, body: Any, named: str) -> None:
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        response = await coordinator.http.post(f"{ROOT}/rules/wiki", json=body)
        assert response.status_code == 400
        assert named in response.json()["errorMessage"]
        assert await house.store.rules() == StoredRules()


async def test_segments_are_marked_unused_and_used_again(house: Any, days: Days, ready: Any) -> None:
    first, second = days(range(2))
    await house.publish(first, second)
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        path = f"{ROOT}/datasources/wiki/segments/{first.id}"
        assert (await coordinator.http.delete(path)).json() == {"segmentStateChanged": True}
        assert (await coordinator.http.delete(path)).json() == {"segmentStateChanged": False}
        assert await coordinator.get("/metadata/datasources/wiki/segments") == [second.id]
        assert (await coordinator.zk.exists(house.paths.coord_published)) is not None
        assert (await coordinator.http.post(f"{ROOT}/datasources/wiki")).json() == {"numChangedSegments": 1}
        assert len(await coordinator.get("/metadata/segments")) == 2
        missing = await coordinator.http.delete(f"{ROOT}/datasources/wiki/segments/nothing")
        assert missing.status_code == 404


async def test_a_stand_by_redirects_everything_but_who_leads(house: Any, ready: Any, until: Until) -> None:
    async with house.coordinator(8081) as first:
        await ready(first)
        async with house.coordinator(8181) as second:
            assert (await second.http.get(f"{ROOT}/isLeader")).json() == {"leader": False}
            assert (await second.http.get(f"{ROOT}/isLeader")).status_code == 404
            assert (await second.http.get(f"{ROOT}/leader")).text == "http://127.0.0.1:8081"
            for method, path in (("GET", "/metadata/segments?datasources=a%2Fb"), ("POST", "/rules/wi%20ki")):
                response = await second.http.request(method, ROOT + path)
                assert response.status_code == 307
                assert response.headers["Location"] == f"http://127.0.0.1:8081{ROOT}{path}"


async def test_a_leader_that_the_store_refuses_says_so(house: Any, ready: Any) -> None:
    async with house.coordinator() as coordinator:
        await ready(coordinator)
        epoch = coordinator.role.leading.leader.epoch
        await house.store.raise_epoch(LeaderEpoch(role="coordinator", epoch=epoch + 1_000))
        response = await coordinator.http.delete(f"{ROOT}/datasources/wiki")
        assert response.status_code == 503
        assert str(epoch) in response.json()["errorMessage"]
