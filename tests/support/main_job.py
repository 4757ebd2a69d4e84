"""The main job as its user does it: submit the shipped spec, wait, ask, compare with the known figures."""

from __future__ import annotations

from typing import Any

from clusters import Cluster

from cli.quickstart.work import INTERVAL, copy_data, ingestion_spec

BASE = {"dataSource": "flights", "intervals": [INTERVAL], "granularity": "all"}
COUNT = {"type": "count", "name": "n"}


async def ingest(cluster: Cluster) -> dict[str, Any]:
    """Submit the shipped spec and wait for the task; its row statistics."""
    base_dir = copy_data(cluster.directory / "input")
    response = await cluster.http.post(
        cluster.procs["overlord"].url + "/druid/indexer/v1/task", json=ingestion_spec(base_dir)
    )
    assert response.status_code == 200, response.text
    task_id = response.json()["task"]

    async def finished() -> Any:
        status = (await cluster.get("overlord", f"/druid/indexer/v1/task/{task_id}/status")).json()["status"]
        assert status["statusCode"] != "FAILED", status
        return status["statusCode"] == "SUCCESS"

    await cluster.until("the task succeeds", finished, 90)
    report = (await cluster.get("overlord", f"/druid/indexer/v1/task/{task_id}/reports")).json()
    rows: dict[str, Any] = report["ingestionStatsAndErrors"]["payload"]["rowStats"]["buildSegments"]
    return {"task": task_id, **rows}


async def loaded(cluster: Cluster, replicas: int = 2) -> None:
    """Wait until all 32 segments are served as often as the rules say."""

    async def all_loaded() -> bool:
        simple = await cluster.get("router", "/druid/coordinator/v1/loadstatus?simple")
        full = await cluster.get("router", "/druid/coordinator/v1/loadstatus?full")
        if simple.status_code != 200 or full.status_code != 200:
            return False
        under = [n for tier in full.json().values() for n in tier.values()]
        return simple.json() == {"flights": 0} and (replicas < 2 or not any(under))

    await cluster.until("all segments are loaded", all_loaded, 90)

    async def queryable() -> bool:
        response = await cluster.http.post(cluster.procs["router"].url + "/druid/v2", json=count_query())
        return response.status_code == 200 and response.json()[0]["result"]["n"] == 27004

    await cluster.until("all rows are queryable", queryable, 60)


def count_query(**more: Any) -> dict[str, Any]:
    """Count the rows of January."""
    return {"queryType": "timeseries", **BASE, "aggregations": [COUNT], **more}


async def check_figures(cluster: Cluster) -> None:
    """The known figures of the data, through the Router."""
    sums = [
        COUNT,
        {"type": "longSum", "name": "distance", "fieldName": "distance"},
        {"type": "longSum", "name": "dep_delay", "fieldName": "dep_delay"},
        {
            "type": "filtered",
            "filter": {"type": "null", "column": "dep_delay"},
            "aggregator": {"type": "count", "name": "nulls"},
        },
    ]
    answer = await cluster.query(count_query(aggregations=sums))
    assert answer == [
        {
            "timestamp": "2013-01-01T00:00:00.000Z",
            "result": {"n": 27004, "distance": 27188805, "dep_delay": 265801, "nulls": 521},
        }
    ]
    top = {"queryType": "topN", **BASE, "dimension": "carrier", "metric": "n", "threshold": 5, "aggregations": [COUNT]}
    rows = (await cluster.query(top))[0]["result"]
    assert [(row["carrier"], row["n"]) for row in rows] == [
        ("UA", 4637),
        ("B6", 4427),
        ("EV", 4171),
        ("DL", 3690),
        ("AA", 2794),
    ]
    group = {"queryType": "groupBy", **BASE, "dimensions": ["origin"], "aggregations": [COUNT]}
    events = [row["event"] for row in await cluster.query(group)]
    assert {event["origin"]: event["n"] for event in events} == {"EWR": 9893, "JFK": 9161, "LGA": 7950}
