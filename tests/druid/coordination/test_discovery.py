"""Who is there: announced, healed, replaced, followed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from coordserver.client import Client
from druidroles.coordination.discovery import DiscoveryView, announce_node, discovered_node
from druidroles.coordination.paths import DruidPaths
from druidroles.model.server import DiscoveryDruidNode, DruidNode, NodeRole

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def node(port: int = 8082, role: NodeRole = NodeRole.BROKER, start_ms: int = 0) -> DiscoveryDruidNode:
    return DiscoveryDruidNode(
        DruidNode(role.service_name, "127.0.0.1", port), role, {"brokerService": {}}, start_time_ms=start_ms
    )


async def test_the_znode_is_druids(zk: Client, paths: DruidPaths) -> None:
    async with announce_node(zk, paths, node(start_ms=1_700_000_000_000)) as announcement:
        found = await zk.get("/druid/internal-discovery/BROKER/127.0.0.1:8082")
        assert announcement.standing
        assert found.stat.ephemeral_owner == zk.session_id
        assert gzip.decompress(found.data) == (
            b'{"druidNode":{"service":"druid/broker","host":"127.0.0.1","bindOnHost":false,"plaintextPort":8082,'
            b'"port":-1,"tlsPort":-1,"enablePlaintextPort":true,"enableTlsPort":false},"nodeType":"broker",'
            b'"services":{"brokerService":{"type":"brokerService"}},"startTime":"2023-11-14T22:13:20.000Z",'
            b'"availableProcessors":1,"totalMemory":0}'
        )
    assert await zk.exists("/druid/internal-discovery/BROKER/127.0.0.1:8082") is None


async def test_a_view_follows_its_roles(zk: Client, other: Client, paths: DruidPaths) -> None:
    async with DiscoveryView(zk, paths, [NodeRole.BROKER, NodeRole.ROUTER]) as view:
        await view.wait_synced()
        assert view.nodes(NodeRole.BROKER) == []
        async with announce_node(other, paths, node(8282)), announce_node(other, paths, node(8082)):
            while len(view.nodes(NodeRole.BROKER)) < 2:
                await view.changed()
            assert [one.name for one in view.nodes(NodeRole.BROKER)] == ["127.0.0.1:8082", "127.0.0.1:8282"]
            found = view.node(NodeRole.BROKER, "127.0.0.1:8082")
            assert found is not None
            assert (found.node, found.url) == (node().node, "http://127.0.0.1:8082")
            assert view.node(NodeRole.ROUTER, "127.0.0.1:8082") is None
            assert {delta.key for delta in view.deltas.take()} == {
                (NodeRole.BROKER, "127.0.0.1:8082"),
                (NodeRole.BROKER, "127.0.0.1:8282"),
            }
        while view.nodes(NodeRole.BROKER):
            await view.changed()
        assert all(delta.new is None for delta in view.deltas.take())


async def test_a_restart_at_the_same_address_is_no_change(zk: Client, other: Client, paths: DruidPaths) -> None:
    """The predecessor's znode, whose session still lives, is replaced in one transaction."""
    async with announce_node(other, paths, node(start_ms=1)), DiscoveryView(zk, paths, [NodeRole.BROKER]) as view:
        await view.wait_synced()
        view.deltas.take()
        seen = view.revision.value
        async with announce_node(zk, paths, node(start_ms=2)):
            while view.nodes(NodeRole.BROKER)[0].start_time_ms != 2:
                seen = await view.changed(seen)
            assert view.deltas.take() == []


async def test_it_heals_after_the_loss_of_the_session(
    zk: Client, paths: DruidPaths, expire: Callable[[Client], Awaitable[None]], eventually: Eventually
) -> None:
    async with announce_node(zk, paths, node()) as announcement:
        await expire(zk)

        async def standing() -> bool:
            return announcement.standing

        await eventually(standing)
        found = await zk.get(paths.discovery_node(NodeRole.BROKER, "127.0.0.1:8082"))
        assert found.stat.ephemeral_owner == zk.session_id


async def test_garbage_and_strangers_are_passed_over(zk: Client, other: Client, paths: DruidPaths) -> None:
    directory = paths.discovery(NodeRole.BROKER)
    await other.create(f"{directory}/a:1", b"nonsense", ephemeral=True)
    await other.create(f"{directory}/b:2", json.dumps({"nodeType": "wizard"}).encode(), ephemeral=True)
    later = attrs.evolve(node(), services={"newService": {"x": 1}})
    raw = {**later.to_json(), "unknown": [1], "services": {**later.to_json()["services"], "odd": 3}}
    await other.create(f"{directory}/127.0.0.1:8082", json.dumps(raw).encode(), ephemeral=True)  # not gzipped
    async with DiscoveryView(zk, paths, [NodeRole.BROKER]) as view:
        await view.wait_synced()
        assert [one.name for one in view.nodes(NodeRole.BROKER)] == ["127.0.0.1:8082"]


async def test_a_process_is_discovered_when_it_sees_itself_in_the_tree(
    zk: Client, other: Client, paths: DruidPaths, expire: Callable[[Client], Awaitable[None]], eventually: Eventually
) -> None:
    path = paths.discovery_node(NodeRole.BROKER, "127.0.0.1:8082")
    async with discovered_node(zk, paths, node()) as sees_itself:
        assert sees_itself()

        async def seen() -> bool:
            return sees_itself()

        async def back() -> bool:
            found = await other.exists(path)
            return found is not None and found.ephemeral_owner == zk.session_id and sees_itself()

        await other.delete(path)
        await eventually(back)
        await expire(zk)
        await eventually(back)
        # Somebody else at this address, say after a mistake in the configuration: we are not what is seen there.
        await other.transaction().delete(path).create(path, b"{}", ephemeral=True).commit()

        async def overtaken() -> bool:
            return not sees_itself()

        await eventually(overtaken)


async def test_garbage_among_the_announced_is_skipped_and_the_directories_are_upper_case(
    zk: Client, other: Client, paths: DruidPaths, caplog: pytest.LogCaptureFixture
) -> None:
    assert await zk.children("/druid/internal-discovery") == sorted(
        ["BROKER", "COORDINATOR", "HISTORICAL", "INDEXER", "MIDDLE_MANAGER", "OVERLORD", "PEON", "ROUTER"]
    )
    directory = paths.discovery(NodeRole.BROKER)
    for number, data in enumerate((b"", b"\xff\xfe", b"[]", b"{}", b"\x1f\x8bno", b'{"druidNode": 5}', b"[" * 100_000)):
        await other.create(f"{directory}/garbage-{number}", data)
    await other.create(f"{directory}/garbage-0/below", b"x")
    async with announce_node(other, paths, node()), DiscoveryView(zk, paths, [NodeRole.BROKER]) as view:
        await view.wait_synced()
        assert [one.name for one in view.nodes(NodeRole.BROKER)] == ["127.0.0.1:8082"]
        assert sum("skipping znode" in record.getMessage() for record in caplog.records) == 7
        await other.set(f"{directory}/garbage-3", b"again")
        await other.delete(f"{directory}/garbage-1")
        async with announce_node(other, paths, node(8282)):
            while len(view.nodes(NodeRole.BROKER)) < 2:
                await view.changed()
