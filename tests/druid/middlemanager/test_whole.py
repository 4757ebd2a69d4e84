"""A whole cluster's data ingested in parallel and compacted: its known figures stay right all the while."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, open_cluster
from main_job import check_figures, loaded

from cli.quickstart.work import copy_data, ingestion_spec

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

PIECES = 3


def split_input(base_dir: Path) -> None:
    """The rows of the shipped file dealt out to several, each with the header."""
    (whole,) = base_dir.glob("*.csv.gz")
    header, *lines = gzip.decompress(whole.read_bytes()).decode().splitlines()
    whole.unlink()
    for number in range(PIECES):
        text = "\n".join([header, *lines[number::PIECES], ""])
        (base_dir / f"flights-{number}.csv.gz").write_bytes(gzip.compress(text.encode()))


def parallel_spec(base_dir: Path) -> dict[str, Any]:
    split_input(base_dir)
    task = ingestion_spec(base_dir)
    tuning = {**task["spec"].get("tuningConfig", {}), "type": "index_parallel", "maxNumConcurrentSubTasks": PIECES}
    task["spec"]["tuningConfig"] = {**tuning, "splitHintSpec": {"type": "maxSize", "maxNumFiles": 1}}
    return task


async def run(cluster: Cluster, task: dict[str, Any]) -> None:
    response = await cluster.http.post(cluster.procs["router"].url + "/druid/indexer/v1/task", json=task)
    assert response.status_code == 200, response.text
    task_id = response.json()["task"]

    async def finished() -> Any:
        status = (await cluster.get("overlord", f"/druid/indexer/v1/task/{task_id}/status")).json()["status"]
        assert status["statusCode"] != "FAILED", status
        return status["statusCode"] == "SUCCESS"

    await cluster.until("the task succeeds", finished, 90)


async def published(cluster: Cluster) -> list[dict[str, Any]]:
    """The used segments as the Coordinator knows them."""
    response = await cluster.get("router", "/druid/coordinator/v1/metadata/datasources/flights/segments?full")
    segments: list[dict[str, Any]] = response.json()
    return segments


async def test_ingested_by_sub_tasks_and_compacted(tmp_path: Path) -> None:
    """Three files become three partitions a day; compacted, a month in partitions of 10,000 rows."""
    async with open_cluster(tmp_path) as cluster:
        await cluster.server()
        for name, kind, *more in (
            ("coordinator", "coordinator"),
            ("overlord", "overlord"),
            ("historical", "historical"),
            ("middlemanager", "middlemanager", "--capacity", "4"),
            ("broker", "broker"),
            ("router", "router"),
        ):
            await cluster.role(name, kind, *more, wait=False)
        for proc in list(cluster.procs.values()):
            await cluster.wait_ready(proc)
        await run(cluster, parallel_spec(copy_data(tmp_path / "input")))
        await loaded(cluster, replicas=1)
        await check_figures(cluster)
        days = await published(cluster)
        assert len(days) == 32 * PIECES
        compact = {
            "type": "compact",
            "dataSource": "flights",
            "ioConfig": {"type": "compact", "inputSpec": {"type": "interval", "interval": "2013-01-01/2013-03-01"}},
            "granularitySpec": {"segmentGranularity": "MONTH"},
            "tuningConfig": {"partitionsSpec": {"type": "dynamic", "maxRowsPerSegment": 10_000}},
        }
        await run(cluster, compact)

        async def months() -> list[dict[str, Any]]:
            before = {segment["identifier"] for segment in days}
            return [segment for segment in await published(cluster) if segment["identifier"] not in before]

        made = await cluster.until("the months are published", months)
        assert len(made) == 4  # 27,004 rows: three of January, and the few hours that are February in UTC
        await loaded(cluster, replicas=1)
        await check_figures(cluster)
