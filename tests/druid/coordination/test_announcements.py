"""Announcing a server and its segments in a real tree."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from made_segments import make_segment

from coordserver.client import Client, Node, WatchKind
from druidroles.coordination import announcements
from druidroles.coordination.announcements import Dequeue, SegmentAnnouncer, announced_server
from druidroles.coordination.inventory import ServerInventory, read_batch
from druidroles.coordination.paths import DruidPaths
from druidroles.model.server import DruidServerMetadata

ME = "127.0.0.1:8083"
SERVER = DruidServerMetadata(name=ME, host=ME, max_size=1000)
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def batches(zk: Client, paths: DruidPaths) -> dict[str, Node]:
    """The batches that stand in the tree."""
    directory = paths.segments_of(ME)
    return {name: await zk.get(f"{directory}/{name}") for name in await zk.children(directory)}


async def announced_ids(zk: Client, paths: DruidPaths) -> list[str]:
    """The segments that are announced."""
    return [segment_id for node in (await batches(zk, paths)).values() for segment_id in read_batch(node.data)]


def ids(*days: int) -> list[str]:
    return [make_segment(day).id for day in days]


async def test_the_announcement_is_druids(zk: Client, paths: DruidPaths) -> None:
    async with announced_server(zk, paths, SERVER, [make_segment(1)]) as announcer:
        node = await zk.get(paths.announcement(ME))
        assert node.data[:2] == b"\x1f\x8b"
        assert gzip.decompress(node.data) == (
            b'{"name":"127.0.0.1:8083","host":"127.0.0.1:8083","hostAndTlsPort":null,"maxSize":1000,'
            b'"type":"historical","tier":"_default_tier","priority":0}'
        )
        assert node.stat.ephemeral_owner == zk.session_id
        [batch] = (await batches(zk, paths)).values()
        assert batch.stat.ephemeral_owner == zk.session_id
        assert gzip.decompress(batch.data).startswith(b'[{"dataSource":"flights","interval":"2013-01-01T00:00')
        assert batch.stat.czxid == node.stat.czxid  # a server is complete when it is seen
        assert announcer.standing
    assert await zk.exists(paths.announcement(ME)) is None
    assert await batches(zk, paths) == {}


async def test_segments_come_in_batches_of_fifty(zk: Client, paths: DruidPaths) -> None:
    async with announced_server(zk, paths, SERVER, [make_segment(day) for day in range(1, 103)]) as announcer:
        sizes = sorted(len(read_batch(node.data)) for node in (await batches(zk, paths)).values())
        assert sizes == [2, 50, 50]
        await announcer.change(add=[make_segment(day) for day in range(103, 153)])
        nodes = (await batches(zk, paths)).values()
        assert sorted(len(read_batch(node.data)) for node in nodes) == [2, 50, 50, 50]
        await announcer.change(remove=ids(*range(1, 151)))
        assert sorted(await announced_ids(zk, paths)) == sorted(ids(151, 152))


async def test_in_a_session_that_was_taken_up_nothing_is_written_that_stands_rightly(
    zk: Client, other: Client, paths: DruidPaths, eventually: Eventually
) -> None:
    segments = [make_segment(day) for day in range(1, 121)]
    await SegmentAnnouncer(zk, paths, SERVER, segments[:119]).settle()  # the predecessor's, in the same session
    before = await batches(zk, paths)
    async with ServerInventory(other, paths) as view:
        await view.wait_synced()
        view.segment_deltas.take()
        async with announced_server(zk, paths, SERVER, sorted(segments[1:], key=lambda one: one.id)):
            await other.sync()
            await view.wait_current()
            assert {delta.key[1]: (delta.old is None) for delta in view.segment_deltas.take()} == {
                segments[0].id: False,
                segments[119].id: True,
            }
            after = await batches(zk, paths)
            same = [name for name in before if name in after and before[name].stat.mzxid == after[name].stat.mzxid]
            assert len(before) == 3
            assert len(same) == 2
            assert after.keys() >= before.keys()
            assert (await zk.get(paths.announcement(ME))).stat.version == 0


async def test_announced_and_dequeued_in_one_transaction(zk: Client, other: Client, paths: DruidPaths) -> None:
    await zk.ensure_path(paths.load_queue_of(ME))
    requests = [paths.load_request(ME, name) for name in ids(1, 2)]
    for path in requests:
        await other.create(path, b"0", ephemeral=True)
        await zk.set(path, b"1", version=0)
    async with announced_server(zk, paths, SERVER) as announcer, other.watch("/druid", recursive=True) as events:
        refused = await announcer.change(
            add=[make_segment(1), make_segment(2)], dequeue=[Dequeue(path, 1) for path in requests]
        )
        assert refused == []
        [batch] = (await batches(zk, paths)).values()
        seen = [await anext(events) for _ in range(3)]
        assert {event.path for event in seen if event.kind is WatchKind.DELETED} == set(requests)
        assert {event.zxid for event in seen} == {batch.stat.czxid}


async def test_a_request_that_is_gone_or_changed_does_not_hinder_the_announcement(
    zk: Client, other: Client, paths: DruidPaths
) -> None:
    await zk.ensure_path(paths.load_queue_of(ME))
    gone, changed, fine = (Dequeue(paths.load_request(ME, name), 1) for name in ids(1, 2, 3))
    for request in (changed, fine):
        await other.create(request.path, b"", ephemeral=True)
    await zk.set(fine.path, b"", version=0)
    async with announced_server(zk, paths, SERVER) as announcer:
        refused = await announcer.change(add=[make_segment(day) for day in (1, 2, 3)], dequeue=[gone, changed, fine])
        assert refused == [gone, changed]
        assert await announced_ids(zk, paths) == ids(1, 2, 3)
        assert await zk.exists(fine.path) is None
        assert await zk.exists(changed.path) is not None
        [batch] = (await batches(zk, paths)).values()
        assert batch.stat.version == 0  # written once


async def test_a_successor_replaces_all_at_once(zk: Client, other: Client, paths: DruidPaths) -> None:
    """The predecessor died a moment ago: its session still lives, and what it announced still stands."""
    dead = SegmentAnnouncer(other, paths, SERVER, [make_segment(1), make_segment(2)])
    await dead.settle()
    old = await batches(zk, paths)
    async with ServerInventory(zk, paths) as inventory, zk.watch("/druid", recursive=True) as events:
        await inventory.wait_synced()
        inventory.segment_deltas.take()
        async with announced_server(zk, paths, SERVER, [make_segment(2), make_segment(3)]):
            node = await zk.get(paths.announcement(ME))
            assert node.stat.ephemeral_owner == zk.session_id
            new = await batches(zk, paths)
            assert new.keys().isdisjoint(old)
            assert {one.stat.czxid for one in new.values()} == {node.stat.czxid}
            seen = [await anext(events) for _ in range(4)]
            assert {event.zxid for event in seen} in ({node.stat.czxid}, {-1})  # ZooKeeper does not tell
            while sorted(inventory.segments_of(ME)) != ids(2, 3):
                await inventory.changed()
            changes = {delta.key[1]: delta.new is not None for delta in inventory.segment_deltas.take()}
            assert changes == {ids(1)[0]: False, ids(3)[0]: True}  # the common one was never seen missing


async def test_all_comes_back_after_the_session_was_lost(
    zk: Client, paths: DruidPaths, expire: Callable[[Client], Awaitable[None]], eventually: Eventually
) -> None:
    async with announced_server(zk, paths, SERVER, [make_segment(1)]) as announcer:
        await announcer.change(add=[make_segment(2)])
        await expire(zk)

        async def back() -> bool:
            return announcer.standing and await zk.exists(paths.announcement(ME)) is not None

        await eventually(back)
        assert await announced_ids(zk, paths) == ids(1, 2)
        assert (await zk.get(paths.announcement(ME))).stat.ephemeral_owner == zk.session_id


async def test_changes_made_while_the_session_is_lost_are_made_in_the_next(
    zk: Client, paths: DruidPaths, expire: Callable[[Client], Awaitable[None]]
) -> None:
    async with announced_server(zk, paths, SERVER, [make_segment(1)]) as announcer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expire, zk)
            for day in range(2, 42):
                await announcer.change(add=[make_segment(day)], remove=ids(day - 1))
        await announcer.change(add=[make_segment(42)])
        assert await announced_ids(zk, paths) == ids(41, 42)
        assert zk.session_number == 2
        assert (await zk.get(paths.announcement(ME))).stat.ephemeral_owner == zk.session_id


async def test_what_somebody_deletes_comes_back(
    zk: Client, other: Client, paths: DruidPaths, eventually: Eventually
) -> None:
    async with announced_server(zk, paths, SERVER, [make_segment(1)]):
        [name] = await batches(zk, paths)
        await other.delete(f"{paths.segments_of(ME)}/{name}")
        await eventually(lambda: zk.exists(f"{paths.segments_of(ME)}/{name}"))
        await other.delete(paths.announcement(ME))
        await eventually(lambda: zk.exists(paths.announcement(ME)))
        await other.delete_tree(paths.segments_of(ME))

        async def all_back() -> bool:
            return await zk.exists(paths.segments_of(ME)) is not None and await announced_ids(zk, paths) == ids(1)

        await eventually(all_back)


async def test_more_than_a_transaction_takes_goes_in_several(
    zk: Client, paths: DruidPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "_TRANSACTION_BYTES", 2000)
    dead = SegmentAnnouncer(zk, paths, SERVER, [make_segment(day) for day in range(1, 401)])
    await dead.settle()
    zxids = {node.stat.czxid for node in (await batches(zk, paths)).values()}
    assert len(zxids) > 1
    announced_at = (await zk.get(paths.announcement(ME))).stat.czxid
    assert announced_at >= max(zxids)  # the batches first
    request = Dequeue(paths.load_request(ME, "r"), 0)
    await zk.create(request.path, b"", makepath=True)
    assert await dead.change(add=[make_segment(day) for day in range(401, 901)], dequeue=[request]) == []
    assert len(await announced_ids(zk, paths)) == 900
    assert await zk.exists(request.path) is None
    await dead.withdraw()
    assert await batches(zk, paths) == {}
