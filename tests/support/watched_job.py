"""The main job, with every step of it watched in the tree while it happens."""

from __future__ import annotations

import json

import trio
from clusters import Cluster, Witness
from main_job import check_figures, count_query, ingest, loaded

from coordserver.client import Client


async def watched_job(cluster: Cluster, witness: Witness, zk: Client) -> None:
    """One batch of real data from the spec to the answers, with what the tree showed meanwhile."""
    async with trio.open_nursery() as nursery:
        await nursery.start(witness.watch, zk, "/druid")
        rows = await ingest(cluster)
        assert rows["processed"] + rows["processedWithError"] == 27004
        assert rows["processedWithError"] > 0
        await loaded(cluster)
        await check_figures(cluster)
        await sizes_are_told(cluster, witness)
        check_steps(cluster, witness, rows["task"])
        await check_tree(cluster, zk)
        nursery.cancel_scope.cancel(reason="seen enough")
    answer = await cluster.http.post(
        cluster.procs["router"].url + "/druid/v2", json={**count_query(), "queryType": "segmentMetadata"}
    )
    assert answer.status_code in (400, 501)
    assert "segmentMetadata" in answer.json()["errorMessage"]


async def sizes_are_told(cluster: Cluster, witness: Witness) -> None:
    """Each Historical's size in use is announced, at most once a second, and has changed."""

    async def told() -> bool:
        for name in ("historical-1", "historical-2"):
            path = f"/druid/coord/status/historical/{cluster.procs[name].address}"
            said = [data for _, at, data in witness.seen if at == path and data.startswith(b"{")]
            if not said or not json.loads(said[-1])["currSize"]:
                return False
        return True

    await cluster.until("the sizes in use are told", told)


def check_steps(cluster: Cluster, witness: Witness, task: str) -> None:
    """The way of a task and of a segment, as the tree saw it."""
    worker = cluster.procs["middlemanager"].address
    assignment, status = f"/druid/indexer/tasks/{worker}/{task}", f"/druid/indexer/status/{worker}/{task}"
    assert witness.paths("CREATED", assignment) == [assignment]
    assert witness.paths("DELETED", assignment) == [assignment]
    assert witness.paths("CREATED", status) == [status]
    created = [path for kind, path, _ in witness.seen if kind == "CREATED"]
    assert created.index(assignment) < created.index(status)
    for name in ("historical-1", "historical-2"):
        address = cluster.procs[name].address
        requested = witness.paths("CREATED", f"/druid/loadQueue/{address}/")
        assert len(requested) == 32
        assert sorted(witness.paths("DELETED", f"/druid/loadQueue/{address}/")) == sorted(requested)
        assert witness.paths("CREATED", f"/druid/segments/{address}/")


async def check_tree(cluster: Cluster, zk: Client) -> None:
    """What stands in the tree when all is done: discovery, latches, statuses."""
    discovery = "/druid/internal-discovery"
    counts = {role: len(await zk.children(f"{discovery}/{role}")) for role in await zk.children(discovery)}
    assert {role: n for role, n in counts.items() if n} == {
        "COORDINATOR": 2,
        "OVERLORD": 1,
        "HISTORICAL": 2,
        "MIDDLE_MANAGER": 1,
        "BROKER": 1,
        "ROUTER": 1,
    }
    assert len(await zk.children("/druid/coordinator/_COORDINATOR")) == 2
    slots = json.loads(
        (await zk.get(f"/druid/coord/status/middleManager/{cluster.procs['middlemanager'].address}")).data
    )
    assert slots["slotsUsed"] == 0
    assert slots["slotsFree"] > 0
