"""What is served, as Druid tells it by datasource, interval, tier and server; and marking by interval and id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical

from druidroles.model.segment import DataSegment

ROOT = "/druid/coordinator/v1"
Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
FIRST, SECOND = "1970-01-01T00:00:00.000Z/1970-01-02T00:00:00.000Z", "1970-01-02T00:00:00.000Z/1970-01-03T00:00:00.000Z"


async def test_datasources_intervals_tiers_and_servers(house: Any, days: Days, until: Until) -> None:
    one, two = days(range(2))
    await house.publish(one, two)
    async with (
        fake_historical(house.address, "h1:8083", one, two),
        fake_historical(house.address, "h2:8083", one, two),
        house.coordinator() as coordinator,
    ):
        await _served(coordinator, until)
        get = coordinator.get
        sizes = {"size": 20, "replicatedSize": 40, "segmentCount": 2}
        summary = {
            "tiers": {"_default_tier": sizes},
            "segments": {
                "count": 2,
                "minTime": "1970-01-01T00:00:00.000Z",
                "maxTime": "1970-01-03T00:00:00.000Z",
                "size": 20,
                "replicatedSize": 40,
            },
        }
        assert await get("/datasources?simple") == [{"name": "wiki", "properties": summary}]
        assert await get("/datasources/wiki") == summary
        assert len((await get("/datasources/wiki?full"))["segments"]) == 2
        (full,) = await get("/datasources?full")
        assert full["name"] == "wiki"
        assert await get("/datasources/wiki/tiers") == ["_default_tier"]
        assert await get("/datasources/wiki/segments") == sorted([one.id, two.id])
        assert len(await get("/datasources/wiki/segments?full")) == 2
        assert (await get(f"/datasources/wiki/segments/{one.id}"))["servers"] == ["h1:8083", "h2:8083"]
        assert await get("/datasources/wiki/intervals") == [SECOND, FIRST]
        assert await get("/datasources/wiki/intervals?simple") == {
            SECOND: {"size": 10, "count": 1},
            FIRST: {"size": 10, "count": 1},
        }
        in_path = FIRST.replace("/", "_")
        assert await get(f"/datasources/wiki/intervals/{in_path}") == [one.id]
        assert list((await get(f"/datasources/wiki/intervals/{in_path}?full"))[FIRST]) == [one.id]
        assert await get("/intervals") == {
            SECOND: {"wiki": {"size": 10, "count": 1}},
            FIRST: {"wiki": {"size": 10, "count": 1}},
        }
        assert await get("/intervals/1970-01-01_P1M") == {"size": 20, "count": 2}
        assert await get(f"/intervals/{in_path}?simple") == {FIRST: {"size": 10, "count": 1}}
        assert await get("/servers/h1:8083/segments") == sorted([one.id, two.id])
        assert (await get(f"/servers/h1:8083/segments/{one.id}"))["identifier"] == one.id
        assert await get("/tiers/_default_tier") == ["wiki"]
        assert (await get("/tiers/_default_tier?simple"))["wiki"][FIRST] == {"size": 10, "count": 1}
        assert (await get("/cluster/historical")) == []
        handoff = f"/datasources/wiki/handoffComplete?interval={in_path}&version={one.version}&partitionNumber="
        assert await get(handoff + "0") is True
        assert await get(handoff + "1") is False
        for bad in ("²", "--1", "9" * 5_000):
            assert (await coordinator.http.get(f"{ROOT}{handoff}{bad}")).status_code == 400


async def _served(coordinator: Any, until: Until) -> None:
    async def check() -> bool:
        leading = coordinator.role.leading
        return leading is not None and leading.ready and len(leading.view.cluster.servers) == 2

    await until(check)


@pytest.mark.parametrize(
    "path",
    [
        "/datasources/other",
        "/datasources/other/intervals",
        "/datasources/other/tiers",
        "/datasources/other/segments",
        "/datasources/other/segments/x",
        "/servers/h9:8083/segments",
        "/servers/h9:8083/segments/x",
    ],
)
async def test_what_nobody_serves_is_no_content(house: Any, until: Until, path: str) -> None:
    async with (
        fake_historical(house.address, "h1:8083"),
        fake_historical(house.address, "h2:8083"),
        house.coordinator() as coordinator,
    ):
        await _served(coordinator, until)
        assert (await coordinator.http.get(ROOT + path)).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", "/intervals/never", None, "interval"),
        ("GET", "/cluster/janitor", None, "janitor"),
        ("GET", "/datasources/wiki/handoffComplete?interval=2020_2021", None, "version"),
        ("POST", "/datasources/wiki/markUnused", {}, "interval or segmentIds"),
        ("POST", "/datasources/wiki/markUnused", {"interval": "x", "segmentIds": ["y"]}, "either"),
        ("POST", "/datasources/wiki/markUsed", {"interval": "x"}, "interval"),
        ("POST", "/datasources/wiki/markUsed", {"segmentIds": [1]}, "segmentIds"),
        ("POST", "/metadata/datasources/wiki/segments", {"a": 1}, "intervals"),
        ("POST", "/metadata/datasources/wiki/segments", ["2020"], "interval 0"),
        ("GET", "/datasources/wiki/unusedSegments?limit=x", None, "limit"),
    ],
)
async def test_bad_input_is_named(house: Any, until: Until, method: str, path: str, body: Any, named: str) -> None:
    async with (
        fake_historical(house.address, "h1:8083"),
        fake_historical(house.address, "h2:8083"),
        house.coordinator() as coordinator,
    ):
        await _served(coordinator, until)
        answer = await coordinator.http.request(method, ROOT + path, json=body)
        assert answer.status_code == 400
        assert named in answer.json()["errorMessage"]


async def test_marking_by_interval_and_by_id_and_what_the_store_tells_then(
    house: Any, days: Days, until: Until
) -> None:
    segments = days(range(4))
    await house.publish(*segments)
    async with (
        fake_historical(house.address, "h1:8083"),
        fake_historical(house.address, "h2:8083"),
        house.coordinator() as coordinator,
    ):
        await _served(coordinator, until)

        async def post(path: str, body: Any) -> Any:
            answer = await coordinator.http.post(f"{ROOT}/datasources/wiki/{path}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        assert await post("markUnused", {"interval": "1970-01-01/1970-01-03"}) == {"numChangedSegments": 2}
        assert await post("markUnused", {"segmentIds": [segments[3].id]}) == {"numChangedSegments": 1}
        assert await coordinator.get("/metadata/datasources/wiki/segments") == [segments[2].id]
        unused = await coordinator.get("/datasources/wiki/unusedSegments")
        assert {item["identifier"] for item in unused} == {segments[n].id for n in (0, 1, 3)}
        assert len(await coordinator.get("/datasources/wiki/unusedSegments?limit=1")) == 1
        assert await post("markUsed", {"segmentIds": [segments[0].id]}) == {"numChangedSegments": 1}
        answer = await coordinator.http.post(
            f"{ROOT}/metadata/datasources/wiki/segments", json=["1970-01-01/1970-01-02"]
        )
        assert answer.json() == [segments[0].id]
        missing = await coordinator.http.post(f"{ROOT}/datasources/wiki/markUsed", json={"segmentIds": ["nothing"]})
        assert missing.status_code == 404
        assert (await coordinator.get("/metadata/datasources/wiki"))["name"] == "wiki"
        assert (await coordinator.get(f"/metadata/datasources/wiki/segments/{segments[1].id}"))["size"] == 10
        await coordinator.http.delete(f"{ROOT}/datasources/wiki")
        assert await coordinator.get("/metadata/datasources") == []
        assert await coordinator.get("/metadata/datasources?includeUnused") == ["wiki"]
