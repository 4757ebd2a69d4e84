"""What the quickstart does with its cluster: submit the task, wait for the segments, ask the questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import trio

DATA_SOURCE = "flights"
INTERVAL = "2013-01-01/2013-02-02"
POLL_S = 0.1
TASK_S = 300.0  # a bound, not an expectation: a few seconds on a laptop
LOAD_S = 300.0

Progress = Callable[[int, int], None]


class WorkFailedError(Exception):
    """The task failed, or the cluster answered with an error; the message says which."""


def copy_data(directory: Path) -> Path:
    """Put the shipped flights file into a directory that a task can read, and say where."""
    directory.mkdir(exist_ok=True)
    source = resources.files("cli").joinpath("data", "flights-2013-01.csv.gz")
    target = directory / source.name
    target.write_bytes(source.read_bytes())
    return directory


def ingestion_spec(base_dir: Path) -> dict[str, Any]:
    """The shipped `index_parallel` spec, reading from `base_dir`."""
    text = resources.files("cli").joinpath("data", "flights-index.json").read_text("utf-8")
    spec: dict[str, Any] = json.loads(text)
    spec["spec"]["ioConfig"]["inputSource"]["baseDir"] = str(base_dir.resolve())
    return spec


class ClusterClient:
    """A user of the cluster, through the Router and the Overlord."""

    def __init__(self, router: str, overlord: str, http: httpx2.AsyncClient) -> None:
        self._router = router
        self._overlord = overlord
        self._http = http

    async def _json(self, method: str, url: str, **more: Any) -> Any:
        try:
            response = await self._http.request(method, url, **more)
        except httpx2.HTTPError as fault:
            raise WorkFailedError(f"{method} {url}: {fault or type(fault).__name__}") from None
        if response.status_code != 200:
            raise WorkFailedError(f"{method} {url}: HTTP {response.status_code}: {response.text[:500]}")
        return response.json()

    async def submit(self, spec: dict[str, Any]) -> str:
        """Submit a task; its id."""
        answer = await self._json("POST", f"{self._overlord}/druid/indexer/v1/task", json=spec)
        return str(answer["task"])

    async def wait_task(self, task_id: str) -> dict[str, Any]:
        """Until the task has ended; its row statistics. WorkFailedError if it did not succeed."""
        url = f"{self._overlord}/druid/indexer/v1/task/{task_id}"
        with trio.fail_after(TASK_S):
            while True:
                status = (await self._json("GET", f"{url}/status"))["status"]
                if status["statusCode"] != "RUNNING":
                    break
                await trio.sleep(POLL_S)
        if status["statusCode"] != "SUCCESS":
            raise WorkFailedError(f"the task {task_id} failed: {status.get('errorMsg')}")
        report = await self._json("GET", f"{url}/reports")
        rows: dict[str, Any] = report["ingestionStatsAndErrors"]["payload"]["rowStats"]["buildSegments"]
        return rows

    async def wait_loaded(self, rows: int, progress: Progress) -> int:
        """Until every used segment is loaded as its rules say and `rows` rows are counted; the number of segments."""
        coordinator = f"{self._router}/druid/coordinator/v1"
        with trio.fail_after(LOAD_S):
            while True:
                status = await self._json(
                    "GET", f"{coordinator}/datasources/{DATA_SOURCE}/loadstatus?forceMetadataRefresh=true&simple"
                )
                used = await self._json("GET", f"{coordinator}/metadata/datasources/{DATA_SOURCE}/segments")
                missing = int(status.get(DATA_SOURCE, len(used)))
                progress(len(used) - missing, len(used))
                if used and missing == 0 and await self.count() == rows:
                    return len(used)
                await trio.sleep(POLL_S)

    async def query(self, query: dict[str, Any]) -> Any:
        """Ask the Router."""
        return await self._json("POST", f"{self._router}/druid/v2", json=query)

    async def count(self) -> int:
        """How many rows the Brokers can see now."""
        answer = await self.query({**EXAMPLES[0][1], "aggregations": [{"type": "count", "name": "rows"}]})
        return int(answer[0]["result"]["rows"])


_BASE = {"dataSource": DATA_SOURCE, "intervals": [INTERVAL], "granularity": "all"}
_COUNT = {"type": "count", "name": "flights"}
_DELAY = {"type": "longSum", "name": "delay", "fieldName": "dep_delay"}

EXAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "January 2013, all flights out of New York (timeseries)",
        {
            "queryType": "timeseries",
            **_BASE,
            "aggregations": [
                _COUNT,
                {"type": "longSum", "name": "miles", "fieldName": "distance"},
                _DELAY,
                {
                    "type": "filtered",
                    "filter": {"type": "null", "column": "dep_delay"},
                    "aggregator": {"type": "count", "name": "never departed"},
                },
            ],
        },
    ),
    (
        "The five busiest carriers (topN)",
        {
            "queryType": "topN",
            **_BASE,
            "dimension": "carrier",
            "metric": "flights",
            "threshold": 5,
            "aggregations": [_COUNT, _DELAY],
        },
    ),
    (
        "By airport (groupBy)",
        {
            "queryType": "groupBy",
            **_BASE,
            "dimensions": ["origin"],
            "aggregations": [_COUNT, {"type": "doubleMax", "name": "worst delay", "fieldName": "dep_delay"}],
        },
    ),
    (
        "The last week, day by day, from JFK (timeseries, period granularity)",
        {
            "queryType": "timeseries",
            **_BASE,
            "intervals": ["2013-01-25/2013-02-01"],
            "granularity": {"type": "period", "period": "P1D", "timeZone": "America/New_York"},
            "filter": {"type": "selector", "dimension": "origin", "value": "JFK"},
            "aggregations": [_COUNT, _DELAY],
        },
    ),
)
