"""Our client against a real Apache ZooKeeper: its API, transactions, watches, recipes, and lost connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
import trio
from differential.peers import ABSENT, real_zookeeper
from tcp_proxy import TcpProxy

from coordserver.client import (
    CREATOR_ALL_ACL,
    BadVersionError,
    Client,
    ConnectionLossError,
    LeaderLatch,
    NodeExistsError,
    NoNodeError,
    SessionState,
    Term,
    TooLargeError,
    TransactionFailedError,
    TreeCache,
    WatchKind,
    announced,
    connect,
    leader,
)
from coordserver.core.model.errors import InvalidACLError, NoAuthError

pytestmark = [pytest.mark.skipif(bool(ABSENT), reason=ABSENT), pytest.mark.timeout(90)]

TIMEOUT_S = 6.0  # the least that this ZooKeeper grants
WAIT_S = 20.0


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one for the whole module; each test has znodes of its own."""
    with real_zookeeper(tmp_path_factory.mktemp("zookeeper") / "zk") as port:
        yield port


@pytest.fixture
def wire(zookeeper: int) -> Iterator[TcpProxy]:
    """A way to it that can be cut."""
    with TcpProxy(zookeeper) as proxy:
        yield proxy


def session(port: int, **more: Any) -> AbstractAsyncContextManager[Client]:
    """A client of a port."""
    return connect(f"zk://127.0.0.1:{port}", session_timeout=TIMEOUT_S, **more)


@pytest.fixture
async def zk(zookeeper: int) -> AsyncIterator[Client]:
    async with session(zookeeper) as client:
        yield client


async def end_session(port: int, zk: Client) -> None:
    """Take the session over and close it: to its owner it has expired. Its owner may take it back in between."""
    number, taken = zk.session_number, (zk.session_id, zk.session_password)
    with trio.fail_after(WAIT_S):
        while zk.session_number == number:  # noqa: ASYNC110 - the client tells of states, not numbers
            async with session(port, session=taken):
                pass
            await trio.sleep(0.05)


async def follow(cache: TreeCache, wanted: dict[str, bytes]) -> None:
    """Wait until a cache shows just that."""
    with trio.fail_after(WAIT_S):
        while {path: node.data for path in cache.paths() if (node := cache.get(path))} != wanted:
            await cache.next_changes()


async def test_the_basics(zk: Client) -> None:
    created = await zk.create("/basics/a", b"1", makepath=True)
    assert (created.path, created.stat.version, created.stat.data_length) == ("/basics/a", 0, 1)
    with pytest.raises(NodeExistsError):
        await zk.create("/basics/a")
    assert (await zk.set("/basics/a", b"22", version=0)).version == 1
    with pytest.raises(BadVersionError):
        await zk.set("/basics/a", b"3", version=0)
    assert (await zk.get("/basics/a")).data == b"22"
    assert (await zk.create("/basics/s-", sequence=True)).path == "/basics/s-0000000001"
    mine = await zk.create("/basics/e", ephemeral=True)
    assert mine.stat.ephemeral_owner == zk.session_id
    assert (await zk.create("/basics/c", container=True)).path == "/basics/c"
    assert (await zk.create("/basics/t", ttl_ms=60_000)).path == "/basics/t"
    assert await zk.children("/basics") == ["a", "c", "e", "s-0000000001", "t"]
    await zk.sync("/basics")
    assert await zk.exists("/nope") is None
    with pytest.raises(NoNodeError):
        await zk.get("/nope")
    with pytest.raises(TooLargeError):
        await zk.set("/basics/a", bytes(1 << 20))
    big = bytes(1_000_000)
    await zk.set("/basics/a", big)
    assert (await zk.get("/basics/a")).data == big
    assert await zk.read_many(["/basics/a", "/nope"]) == [await zk.get("/basics/a"), None]
    await zk.delete_tree("/basics")
    assert await zk.exists("/basics") is None


async def test_credentials_and_acls(zookeeper: int, zk: Client) -> None:
    with pytest.raises(InvalidACLError):
        await zk.create("/guarded", acl=CREATOR_ALL_ACL)
    async with session(zookeeper, auth=[("digest", b"alice:secret")], default_acl=CREATOR_ALL_ACL) as alice:
        await alice.create("/guarded", b"x")
        acl, _ = await alice.get_acl("/guarded")
        assert [(entry.scheme, entry.id.partition(":")[0]) for entry in acl] == [("digest", "alice")]
    with pytest.raises(NoAuthError):
        await zk.get("/guarded")
    await zk.add_auth("digest", b"alice:secret")
    assert (await zk.get("/guarded")).data == b"x"


async def test_transactions(zk: Client) -> None:
    results = await zk.transaction().create("/tx", b"1").create("/tx/a", ephemeral=True).set("/tx", b"2").commit()
    assert [result.path for result in results] == ["/tx", "/tx/a", ""]
    assert results[2].stat is not None
    assert results[2].stat.version == 1
    with pytest.raises(TransactionFailedError) as caught:
        await zk.transaction().check("/tx", 1).delete("/tx/a").create("/tx").set("/tx", b"3").commit()
    assert caught.value.index == 2
    assert isinstance(caught.value.cause, NodeExistsError)
    assert await zk.children("/tx") == ["a"]
    assert await zk.transaction().commit() == []


async def test_many_requests_at_once_with_pings_between(zk: Client) -> None:
    await zk.create("/many")
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(zk.get, "/many")
                nursery.start_soon(zk.set, "/many", b"")
        await trio.sleep(TIMEOUT_S / 3)
    assert (await zk.get("/many")).stat.version == 900


async def test_a_path_watched_both_ways(zookeeper: int, zk: Client) -> None:
    async with session(zookeeper) as other, zk.watch("/both") as exact:
        async with zk.watch("/both", recursive=True) as below:
            await other.create("/both")
            await other.create("/both/b")
            with trio.fail_after(WAIT_S):
                assert [(await anext(exact)).kind for _ in range(2)] == [WatchKind.CREATED, WatchKind.CHILDREN]
                assert [(await anext(below)).path for _ in range(2)] == ["/both", "/both/b"]
        await zk.sync()
        await other.create("/both/c")
        await other.set("/both", b"1")
        with trio.fail_after(WAIT_S):
            assert [(await anext(exact)).kind for _ in range(2)] == [WatchKind.CHILDREN, WatchKind.CHANGED]


async def test_a_cache_over_cut_connections(zookeeper: int, wire: TcpProxy) -> None:
    async with session(zookeeper) as other, session(wire.port) as zk, zk.cache("/cached") as cache:
        await cache.wait_synced()
        wanted = {}
        for number in range(5):
            await other.create(f"/cached/{number}", b"1", makepath=True)
            wanted |= {"/cached": b"", f"/cached/{number}": b"1"}
            if number % 2:
                wire.cut()
            await other.delete(f"/cached/{number}")
            await other.create(f"/cached/{number}", b"2")
            wanted[f"/cached/{number}"] = b"2"
            if number == 3:
                await other.delete("/cached/0")
                del wanted["/cached/0"]
            await follow(cache, wanted)
        assert cache.resyncs >= 2


async def test_a_lost_connection_keeps_the_session_and_loses_the_write_under_way(
    zookeeper: int, wire: TcpProxy
) -> None:
    async with session(wire.port) as zk:
        await zk.create("/kept", ephemeral=True)
        before = zk.session_id
        wire.silent = True

        async def write() -> None:
            with pytest.raises(ConnectionLossError):
                await zk.create("/maybe")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(zk.get, "/kept")
            await trio.sleep(0.2)
            wire.silent = False
            wire.cut()
        stat = await zk.exists("/kept")
        assert stat is not None
        assert stat.ephemeral_owner == zk.session_id == before
        assert zk.session_number == 1


async def test_a_session_that_ended_is_told_and_what_it_announced_comes_back(zookeeper: int, zk: Client) -> None:
    async with session(zookeeper) as other, announced(zk, "/announced/me", b"1"), zk.states() as states:
        owner = (await other.get("/announced/me")).stat.ephemeral_owner
        await end_session(zookeeper, zk)
        with trio.fail_after(WAIT_S):
            async for state in states:
                if state is SessionState.LOST:
                    break
            while (stat := await other.exists("/announced/me")) is None or stat.ephemeral_owner == owner:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert zk.session_number == 2
    assert await zk.exists("/announced/me") is None


async def test_leaders_follow_each_other(zookeeper: int, zk: Client) -> None:
    terms: dict[str, Term] = {}

    async def lead(name: str, term: Term) -> None:
        terms[name] = term
        await trio.sleep_forever()

    async def until_leads(name: str) -> Term:
        with trio.fail_after(WAIT_S):
            while name not in terms:  # noqa: ASYNC110 - told by another task of the test
                await trio.sleep(0.02)
        return terms[name]

    async with session(zookeeper) as first, session(zookeeper) as second, trio.open_nursery() as nursery:
        nursery.start_soon(LeaderLatch(first, "/latch", "first").run, partial(lead, "first"))
        one = await until_leads("first")
        nursery.start_soon(LeaderLatch(second, "/latch", "second").run, partial(lead, "second"))
        while len(await zk.children("/latch")) < 2:  # noqa: ASYNC110 - it is the server's state
            await trio.sleep(0.02)
        await end_session(zookeeper, first)
        two = await until_leads("second")
        assert two.epoch > one.epoch
        assert await leader(zk, "/latch") == ("second", two.epoch)
        with pytest.raises(TransactionFailedError) as caught:
            await one.check(zk.transaction()).create("/by-the-deposed").commit()
        assert caught.value.index == 0
        nursery.cancel_scope.cancel()
