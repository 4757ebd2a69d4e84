"""Who leads, seen from outside."""

from __future__ import annotations

import trio

from coordserver.client import Client
from coordserver.client.recipes.leader_latch import leader
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.paths import DruidPaths


async def test_the_view_agrees_with_the_latch(zk: Client, other: Client, paths: DruidPaths) -> None:
    latch = paths.coordinator_latch
    async with LeaderView(zk, latch) as view:
        await view.wait_synced()
        assert (view.leader, view.url) == (None, None)
        await other.create(f"{latch}/not-a-contender", b"http://x:1", ephemeral=True)
        first = await other.create(f"{latch}/_c_0f-latch-", b"http://127.0.0.1:8081", ephemeral=True, sequence=True)
        with trio.fail_after(20):
            found = await view.wait_leader()
        assert (found.participant, found.epoch) == ("http://127.0.0.1:8081", first.stat.czxid)
        # A later contender leads only when the first has gone, whatever its random prefix.
        second = await other.create(f"{latch}/_c_00-latch-", b"http://127.0.0.1:8181", ephemeral=True, sequence=True)
        agreed = await leader(zk, latch)
        assert agreed is not None
        assert agreed == view.leader
        await other.delete(first.path)
        while view.url != "http://127.0.0.1:8181":
            await view.changed()
        assert view.leader is not None
        assert view.leader.epoch == second.stat.czxid > first.stat.czxid
        await other.delete(second.path)
        while view.leader is not None:
            await view.changed()
