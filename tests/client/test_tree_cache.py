"""The cache of a subtree: in the end it equals the tree, and its changes add up to what it holds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_server import MemoryServer, run_virtual, until
from trio.testing import MockClock

from coordserver.client import (
    CacheChange,
    Client,
    ClientClosedError,
    KeeperError,
    Node,
    SessionState,
    TransactionFailedError,
    TreeCache,
)


async def test_it_begins_with_what_there_is_and_follows(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a/b/c", b"1", makepath=True)
        await zk.create("/ab", b"not below /a")
        async with zk.cache("/a") as cache:
            await cache.wait_synced()
            assert sorted(cache.paths()) == ["/a", "/a/b", "/a/b/c"]
            assert sorted(cache.paths("/a/b")) == ["/a/b", "/a/b/c"]
            assert cache.children("/a") == ["b"]
            assert cache.children("/a/b/c") == cache.children("/nope") == []
            node = cache.get("/a/b/c")
            assert node is not None
            assert node.data == b"1"
            changes = await cache.next_changes()
            assert sorted(change.path for change in changes if change.old is None) == ["/a", "/a/b", "/a/b/c"]
            await zk.set("/a/b/c", b"2")
            (changed,) = await cache.next_changes()
            assert (changed.path, changed.old and changed.old.data, changed.new and changed.new.data) == (
                "/a/b/c",
                b"1",
                b"2",
            )
            await zk.delete_tree("/a/b")
            await trio.sleep(1)
            assert len(cache) == 1
            assert "/a/b" not in cache


async def test_a_subtree_that_is_not_there_is_empty_until_it_is(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, zk.cache("/a") as cache:
        await cache.wait_synced()
        assert len(cache) == 0
        await zk.create("/a/b", makepath=True)
        assert [change.path for change in await cache.next_changes()][:1] == ["/a"]
        await trio.sleep(1)
        assert sorted(cache.paths()) == ["/a", "/a/b"]


async def test_what_a_transaction_replaced_is_one_change(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a", b"1")
        async with zk.cache("/a") as cache:
            await cache.wait_synced()
            await cache.next_changes()
            await zk.transaction().delete("/a").create("/a", b"2").commit()
            (change,) = await cache.next_changes()
            assert change.old is not None
            assert change.new is not None
            assert (change.old.data, change.new.data) == (b"1", b"2")


async def test_what_may_wait_is_read_a_moment_later_and_what_has_gone_meanwhile_never(
    autojump_clock: MockClock, server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.connect() as zk:
        await zk.create("/a")
        async with zk.cache("/a", wait_created=1, wait_changed=2) as cache:
            await cache.wait_synced()
            await cache.next_changes()
            read: list[str] = []
            read_many = zk.read_many

            async def noted(paths: Sequence[str]) -> list[Node | None]:
                read.extend(paths)
                return await read_many(paths)

            monkeypatch.setattr(zk, "read_many", noted)
            begun = trio.current_time()
            await zk.create("/a/soon-gone")
            await zk.create("/a/stays", b"1")
            await zk.set("/a/stays", b"2")  # it waits as what was created, and once
            await zk.set("/a", b"2")
            await trio.sleep(0.5)
            await zk.delete("/a/soon-gone")
            (came,) = await cache.next_changes()
            assert (came.path, came.new and came.new.data, trio.current_time() - begun) == ("/a/stays", b"2", 1)
            (changed,) = await cache.next_changes()
            assert (changed.path, trio.current_time() - begun) == ("/a", 2)
            await cache.wait_settled()
            # ZooKeeper's events do not say when: there it is asked whether what is told as deleted has come again.
            asked = ["/a/soon-gone"] if server.zookeeper else []
            assert read == [*asked, "/a/stays", "/a"]


async def test_what_waits_is_told_as_gone_at_once(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a/b", makepath=True)
        async with zk.cache("/a", wait_created=5, wait_changed=5) as cache:
            await cache.wait_synced()
            await cache.next_changes()
            begun = trio.current_time()
            await zk.set("/a/b", b"2")
            await zk.delete("/a/b")
            (gone,) = await cache.next_changes()
            assert (gone.path, gone.new, trio.current_time() - begun) == ("/a/b", None, 0)
            await zk.transaction().create("/a/b").delete("/a/b").create("/a/b", b"3").commit()
            (came,) = await cache.next_changes()
            assert came.new is not None
            assert (came.new.data, trio.current_time() - begun) == (b"3", 0)  # a deletion is judged by what came after


async def test_a_lost_session_is_never_told_as_removal(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, server.connect(session_timeout=40) as other:
        await other.create("/a/b", makepath=True)
        async with zk.cache("/a") as cache:
            await cache.wait_synced()
            await cache.next_changes()
            server.peers[0].cut()
            server.up = False
            await trio.sleep(2)
            assert sorted(cache.paths()) == ["/a", "/a/b"]
            await server.down_for(6)
            await until(zk, SessionState.CONNECTED)
            await other.create("/a/c")
            await trio.sleep(1)
            changes = await cache.next_changes()
            assert [(change.path, change.old is None) for change in changes] == [("/a/c", True)]
            assert cache.synced
            assert cache.resyncs == 1


async def test_a_closed_client_is_told(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, zk.cache("/") as cache:
        await cache.wait_synced()
        await cache.next_changes()
        zk._session.stop()
        with pytest.raises(ClientClosedError):
            await cache.next_changes()


_PATHS = ("/r", "/r/a", "/r/a/x", "/r/a/x/1", "/r/b", "/r/b/y", "/s")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(_PATHS)),
        st.tuples(st.just("delete"), st.sampled_from(_PATHS)),
        st.tuples(st.just("swap"), st.sampled_from(_PATHS)),
        st.tuples(st.just("wait"), st.just("")),
        st.tuples(st.just("cut"), st.just("")),
        st.tuples(st.just("lose"), st.just("")),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(steps=_STEPS, ring=st.sampled_from((4, 50_000)), waits=st.sampled_from(((0.0, 0.0), (0.0, 0.02), (0.015, 8.0))))
def test_whatever_happens_the_cache_comes_to_equal_the_tree(
    steps: list[tuple[str, str]], ring: int, waits: tuple[float, float]
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server: MemoryServer = await nursery.start(MemoryServer(ring=ring).run)
            async with (
                server.connect() as zk,
                server.connect(session_timeout=40) as other,
                zk.cache("/r", wait_created=waits[0], wait_changed=waits[1]) as cache,
                trio.open_nursery() as following,
            ):
                replayed: dict[str, Node] = {}
                following.start_soon(_replay, cache, replayed)
                for n, (what, path) in enumerate(steps):
                    await _step(server, other, what, path, b"%d" % n)
                await trio.sleep(30)
                assert cache.synced
                expected = await _tree(other, "/r")
                held = {path: node for path in cache.paths() if (node := cache.get(path)) is not None}
                assert _told(held) == _told(replayed) == _told(expected)
                for path in expected:
                    assert cache.children(path) == await other.children(path)
                following.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    run_virtual(main)


def _told(nodes: dict[str, Node]) -> dict[str, tuple[object, ...]]:
    """What events tell of a znode: a parent's count of children and their last change are not among it."""
    return {path: (node.data, node.stat.czxid, node.stat.mzxid, node.stat.version) for path, node in nodes.items()}


async def _step(server: MemoryServer, other: Client, what: str, path: str, data: bytes) -> None:
    try:
        if what == "put" and await other.exists(path) is None:
            await other.create(path, data, makepath=True)
        elif what == "put":
            await other.set(path, data)
        elif what == "delete":
            await other.delete(path)
        elif what == "swap":
            await other.transaction().delete(path).create(path, data).commit()
        elif what == "wait":
            await trio.sleep(0.01)
        elif what == "cut":
            server.cut()
        else:
            await server.down_for(6)
    except (KeeperError, TransactionFailedError):
        pass


async def _replay(cache: TreeCache, into: dict[str, Node]) -> None:
    """Keep a copy by the changes alone; each must fit what was there."""
    while True:
        changes: list[CacheChange] = await cache.next_changes()
        for path, old, new in changes:
            before = into.get(path)
            assert _told({path: before} if before else {}) == _told({path: old} if old else {})
            if new is None:
                del into[path]
            else:
                into[path] = new


async def _tree(zk: Client, root: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    waiting = [root]
    for path in waiting:
        try:
            found[path] = await zk.get(path)
        except KeeperError:
            continue
        waiting += [f"{path}/{name}" for name in await zk.children(path)]
    return found
