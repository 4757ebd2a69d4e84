"""Management as a real Druid answers it: status, media type, keys and types (tests/workflow/data/README.md).

Where an answer differs it is one of those named here, each for a reason that docs/druid-compatibility.md gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clusters import Cluster
from main_job import ingest, loaded

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(240)]

RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "druid_answers.jsonl").read_text().splitlines()
]
PROCESSES = {"coordinator": "router", "router": "router", "broker": "broker", "historical": "historical-1"}
EXPLAINED = "explains itself with a body"
# Names of answers and what is different about each.
DIFFERENT = {
    "coordinator.datasources/nope": {"has no media type"},
    "coordinator.datasources?full": {"$[].properties is empty"},
    "coordinator.datasources/flights/loadstatus?forceMetadataRefresh=false": {EXPLAINED},
    "coordinator.loadqueue?full": {"$.* is not empty"},
    "coordinator.metadata/datasources?full": {"$[].properties is empty"},
    "coordinator.metadata/datasources/flights": {"$.properties is empty"},
    "coordinator.metadata/datasources/nope": {EXPLAINED},
    "coordinator.duties": {EXPLAINED},
    "overlord.taskStatus": {EXPLAINED},
    "broker./druid-ext/basic-security/authentication/listen": {EXPLAINED},
    "broker./druid/v2/datasources/flights": {"$.dimensions is not empty"},
    "broker./druid/v2/datasources/flights?full": {"$ is not empty"},
    "router.nope": {EXPLAINED},
    "router.v2.get": {EXPLAINED},
    **{
        f"task.error.{name}": {f"$ has {key}" for key in ("errorMessage", "errorClass", "host")}
        for name in ("noType", "unknown", "noSpec", "noDataSource", "badFormat")
    },
}
# The task as it was submitted; Druid writes it anew, with all defaults.
AS_SUBMITTED = "overlord.task/ID"


def is_map(value: dict[str, Any]) -> bool:
    """Whether its keys are names of things and not of fields."""
    return any(not key.isidentifier() or key.startswith("_") or key in ("HISTORICAL", "TASK") for key in value)


def differences(ours: Any, druids: Any, at: str = "$") -> Iterator[str]:
    """In which keys and types two answers differ."""
    if isinstance(ours, dict | list) and type(ours) is type(druids) and bool(ours) is not bool(druids):
        yield f"{at} is {'not ' if ours else ''}empty"
    elif isinstance(ours, dict) and isinstance(druids, dict):
        if is_map(druids):
            yield from differences(next(iter(ours.values())), next(iter(druids.values())), f"{at}.*")
            return
        yield from (f"{at} lacks {key}" for key in druids if key not in ours)
        yield from (f"{at} has {key}" for key in ours if key not in druids)
        for key in druids:
            if key in ours:
                yield from differences(ours[key], druids[key], f"{at}.{key}")
    elif isinstance(ours, list) and isinstance(druids, list):
        if ours:
            yield from differences(ours[0], druids[0], f"{at}[]")
    elif not (isinstance(ours, int | float) and isinstance(druids, int | float)) and type(ours) is not type(druids):
        yield f"{at} is {type(ours).__name__}"


def compared(answer: httpx2.Response, recorded: dict[str, Any]) -> Iterator[str]:
    """All that is different about an answer."""
    if answer.status_code != recorded["status"]:
        yield f"has status {answer.status_code}"
        return
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if "json" not in recorded:
        if answer.headers.get("content-type", "") == "application/json" and answer.content[:1] == b"{":
            yield EXPLAINED
            return
        if not recorded["text"].startswith("http") and answer.text != recorded["text"]:
            yield f"says {answer.text[:100]!r}"
    if media_type != recorded["type"]:
        yield f"has media type {media_type}" if media_type else "has no media type"
    if "json" in recorded:
        yield from differences(answer.json(), recorded["json"])


async def test_management_answers_as_druid_28(cluster: Cluster) -> None:
    await cluster.whole()
    task = (await ingest(cluster))["task"]
    await loaded(cluster)
    found: dict[str, set[str]] = {}
    for recorded in RECORDED:
        url = cluster.procs[PROCESSES[recorded["to"]]].url + recorded["path"].replace("TASK", task)
        answer = await cluster.http.request(recorded["method"], url, json=recorded.get("request"))
        different = set(compared(answer, recorded))
        if recorded["name"] == AS_SUBMITTED:
            different = {what for what in different if not what.startswith("$.payload")}
        if different:
            found[recorded["name"]] = different
    assert found == DIFFERENT
