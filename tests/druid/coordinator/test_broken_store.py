"""A Coordinator on a store with rows that nobody can read, and with a segment that no load queue can hold."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical
from role_routes import BODIES

from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered

ROOT = "/druid/coordinator/v1"
DAY_MS = 86_400_000
BROKEN = {
    "a brace": b"{",
    "not text": b"\x00\x01\xff",
    "null": b"null",
    "an array": b"[]",
    "a number": b"5",
    "brackets": b"[" * 100_000,
}
# What lies in the row, and the row: its columns beside the payload.
ROWS = {
    "druid_segments": (
        'INSERT INTO druid_segments (id, dataSource, created_date, start, "end", partitioned, version, used, payload,'
        " used_status_last_updated) VALUES ('bad', 'wiki', '2024', '1971-01-01T00:00:00.000Z',"
        " '1971-01-02T00:00:00.000Z', TRUE, 'v', TRUE, ?, '2024')"
    ),
    "druid_rules": "INSERT INTO druid_rules (id, dataSource, version, payload) VALUES ('bad', 'bad', '2024', ?)",
    "druid_config": "INSERT INTO druid_config (name, payload) VALUES ('coordinator.config', ?)",
    "druid_audit": (
        "INSERT INTO druid_audit (audit_key, type, author, comment, created_date, payload)"
        " VALUES ('wiki', 'rules', '', '', '2024-01-01T00:00:00.000Z', ?)"
    ),
    "druid_tasks": (
        "INSERT INTO druid_tasks (id, created_date, datasource, payload, status_payload, active, type, group_id)"
        " VALUES ('bad', '2024', 'wiki', ?1, ?1, TRUE, 'noop', 'bad')"
    ),
    "druid_tasklocks": "INSERT INTO druid_tasklocks (task_id, lock_payload) VALUES ('bad', ?)",
}
READS = (
    "/loadstatus",
    "/datasources",
    "/metadata/datasources",
    "/metadata/datasources?full",
    "/metadata/datasources/wiki/segments",
    "/metadata/segments",
    "/datasources/wiki/unusedSegments",
    "/rules",
    "/rules/wiki",
    "/rules/wiki?full",
    "/rules/history?count=10",
    "/config",
    "/config/history",
    "/loadqueue",
)
Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def insert(house: Any, table: str, payload: bytes) -> None:
    connection = sqlite3.connect(house.metadata)
    with connection:
        connection.execute(ROWS[table], (payload,))
    connection.close()


def of(data_source: str, day: int, version: str = "2024-01-01T00:00:00.000Z") -> DataSegment:
    return DataSegment(
        data_source,
        Interval(day * DAY_MS, (day + 1) * DAY_MS),
        version,
        load_spec={"type": "local", "path": f"/deep/{day}"},
        shard_spec=numbered(0, 1),
        size=10,
    )


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("table", ROWS)
async def test_a_leader_starts_beside_a_broken_row_and_loads_and_answers_everything_else(
    house: Any, days: Days, until: Until, table: str, kind: str
) -> None:
    (segment,) = days([0])
    await house.publish(segment)
    insert(house, table, BROKEN[kind])
    async with fake_historical(house.address, "h1:8083") as historical, house.coordinator() as coordinator:

        async def loaded() -> bool:
            return segment.id in historical.served

        await until(loaded)
        for path in READS:
            answer = await coordinator.http.get(ROOT + path)
            assert answer.status_code == 200, f"{path}: {answer.text}"
        assert await coordinator.get("/metadata/datasources/wiki/segments") == [segment.id]
        readable = {"druid_rules": "an array"}.get(table) == kind or (
            table == "druid_audit"
            and kind
            in (
                "null",
                "an array",
                "a number",
            )
        )
        counts = coordinator.role.leading.store.unreadable.counts()
        assert counts == ({} if readable or table in ("druid_tasks", "druid_tasklocks") else {table: 1})
        said = coordinator.role._context.metrics.render()
        assert not counts or f'druid_metadata_unreadable_count{{table="{table}"}} 1' in said


async def test_rules_that_cannot_be_read_stop_their_datasource_and_no_other(
    house: Any, days: Days, until: Until
) -> None:
    (good,) = days([0])
    await house.publish(good)
    other = of("bad", 0)
    connection = sqlite3.connect(house.metadata)
    with connection:
        connection.execute(
            'INSERT INTO druid_segments (id, dataSource, created_date, start, "end", partitioned, version, used,'
            " payload, used_status_last_updated) VALUES (?, 'bad', '2024', '1970-01-01T00:00:00.000Z',"
            " '1970-01-02T00:00:00.000Z', TRUE, ?, TRUE, ?, '2024')",
            (other.id, other.version, json.dumps(other.to_json()).encode()),
        )
    connection.close()
    insert(house, "druid_rules", b"{")
    async with fake_historical(house.address, "h1:8083") as historical, house.coordinator() as coordinator:

        async def loaded() -> bool:
            return good.id in historical.served

        await until(loaded)
        assert other.id not in historical.served
        refused = await coordinator.http.get(f"{ROOT}/rules/bad")
        assert (refused.status_code, "cannot be read" in refused.json()["errorMessage"]) == (409, True)
        assert "cannot be read" in (await coordinator.get(f"/explain/segments/{other.id}"))["why"]
        assert list(await coordinator.get("/rules")) == ["_default"]
        assert (await coordinator.http.post(f"{ROOT}/rules/bad", json=[{"type": "loadForever"}])).status_code == 200

        async def other_loaded() -> bool:
            return other.id in historical.served

        await until(other_loaded)


async def test_a_segment_that_cannot_be_read_can_be_marked_unused(house: Any, days: Days, until: Until) -> None:
    await house.publish(*days([0]))
    insert(house, "druid_segments", b"{")
    async with house.coordinator() as coordinator:

        async def ready() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(ready)
        body = {"segmentIds": ["bad"]}
        answer = await coordinator.http.post(f"{ROOT}/datasources/wiki/markUnused", json=body)
        assert answer.json() == {"numChangedSegments": 1}
        assert (await coordinator.http.delete(f"{ROOT}/datasources/other/segments/bad")).status_code == 404


async def test_a_segment_that_no_load_queue_can_hold_stops_no_other(house: Any, days: Days, until: Until) -> None:
    """Its request failed with "no node", and the whole batch was written again, for ever."""
    good, bad = days(range(20)), [of("wiki", 30, "v 1/ü"), of("wiki", 31, "v😀")]
    await house.publish(*good)
    for segment in bad:
        await house.publish(segment)
    async with fake_historical(house.address, "h1:8083") as historical, house.coordinator() as coordinator:

        async def loaded() -> bool:
            return len(historical.served) == len(good)

        await until(loaded)
        store = coordinator.role.leading.store
        assert store.unreadable.count("druid_segments") == 2
        explained = coordinator.role.leading.explainer().explain(bad[0])
        assert "has a slash" in str(explained)
        orders = coordinator.role.leading.executor.orders

        async def done() -> bool:
            return orders.in_tree_count == 0 and list(orders.all_of("h1:8083")) == []

        await until(done)
        body = {"interval": "1970-01-31/1970-02-01", "versions": ["v 1/ü"]}
        answer = await coordinator.http.post(f"{ROOT}/datasources/wiki/markUnused", json=body)
        assert answer.json() == {"numChangedSegments": 1}


@pytest.mark.parametrize("verb", ["markUnused", "markUsed"])
@pytest.mark.parametrize(
    ("versions", "changed"),
    [(["v1"], 1), (["v1", "v2"], 2), (["v1", "v1"], 1), ([], 0), (["other"], 0), (None, 2)],
)
async def test_versions_are_read_by_mark_used_and_mark_unused(
    house: Any, until: Until, verb: str, versions: list[str] | None, changed: int
) -> None:
    await house.publish(of("wiki", 0, "v1"))
    await house.publish(of("wiki", 0, "v2"))
    async with house.coordinator() as coordinator:

        async def ready() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(ready)
        leading = coordinator.role.leading
        if verb == "markUsed":
            await leading.store.set_used_in(leading.leader, "wiki", None, False)
        body = {"interval": "1970-01-01/1970-01-02", "versions": versions}
        answer = await coordinator.http.post(f"{ROOT}/datasources/wiki/{verb}", json=body)
        assert answer.json() == {"numChangedSegments": changed}


async def test_a_stored_configuration_that_cannot_be_read_changes_nothing(house: Any, days: Days, until: Until) -> None:
    await house.publish(*days([0]))
    async with house.coordinator() as coordinator:

        async def ready() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(ready)
        leading = coordinator.role.leading
        await coordinator.http.post(f"{ROOT}/config", json={"pauseCoordination": "true", "maxSegmentsToMove": "7"})
        assert leading.config.pause_coordination
        for broken in (b"{", b"[]", b'{"unheardOf": 1}'):
            await leading.store._write(
                leading.leader,
                lambda c, broken=broken: c.execute("UPDATE druid_config SET payload = ?", (broken,)),
            )
            await leading.reader.refresh()
            assert (leading.config.pause_coordination, leading.config.max_segments_to_move) == (True, 7)


async def test_names_that_no_path_can_hold_are_refused_where_rules_and_configuration_are_set(
    house: Any, days: Days, until: Until
) -> None:
    await house.publish(*days([0]))
    async with house.coordinator() as coordinator:

        async def ready() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(ready)
        for name in ("a😀", "a\ufffd", "a\x01", "a/b", ".."):
            rule = {"type": "loadForever", "tieredReplicants": {name: 1}}
            bodies: list[tuple[str, Any]] = [
                ("/rules/wiki", [rule]),
                ("/config", {"killDataSourceWhitelist": [name]}),
                ("/config", {"decommissioningNodes": [name]}),
            ]
            for path, body in bodies:
                answer = await coordinator.http.post(ROOT + path, json=body)
                assert answer.status_code == 400, f"{path} took {name!r}"
        for name in ("a%F0%9F%98%80", "a%EF%BF%BD", "a%01"):
            answer = await coordinator.http.post(f"{ROOT}/rules/{name}", json=[])
            assert answer.status_code == 400, f"rules of {name}"


@pytest.mark.parametrize("endpoint", [e for e, bodies in BODIES.items() if ROOT in e and isinstance(bodies, list)])
async def test_a_body_with_a_key_that_nobody_reads_is_refused(
    house: Any, days: Days, until: Until, endpoint: str
) -> None:
    await house.publish(*days([0]))
    method, path = endpoint.split(" ")
    async with house.coordinator() as coordinator:

        async def ready() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(ready)
        for body in BODIES[endpoint]:
            answer = await coordinator.http.request(method, path.replace("{ds}", "wiki"), json=body)
            assert answer.status_code == 400, f"{body}: {answer.text}"
        assert await coordinator.get("/config/history") == []
        assert await coordinator.get("/rules/history") == []
        assert len(await coordinator.get("/metadata/datasources/wiki/segments")) == 1
