"""kazoo and its recipes over what goes wrong: sockets cut, sessions expired, a silent network, a killed server."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.protocol.states import WatchedEvent
from kazoo.recipe.cache import TreeCache
from kazoo_clients import WAIT_S, Clients, States, Thread, until
from server_process import ServerProcess
from tcp_proxy import TcpProxy

SHORT_S = 1.5


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[TcpProxy]:
    """A wire to the server that a test may break."""
    with TcpProxy(server.port) as wire:
        yield wire


def expire(clients: Clients, client: KazooClient) -> None:
    """End the session of a client behind its back, as kazoo's own harness does."""
    second = clients(client_id=client.client_id)
    second.stop()


def test_requests_in_flight_are_tried_again_over_cuts(clients: Clients, proxy: TcpProxy, root: str) -> None:
    client = clients(root, port=proxy.port)
    states = States(client)

    def work() -> None:
        for i in range(100):
            client.retry(client.ensure_path, f"/n{i}")

    thread = Thread(work)
    for _ in range(5):
        states.seen.clear()
        proxy.cut()
        states.until_connected_again()
    thread.result()
    assert len(clients(root).get_children("/")) == 100


def test_ephemerals_and_session_outlive_cuts(clients: Clients, proxy: TcpProxy, root: str) -> None:
    client = clients(root, port=proxy.port)
    client.create("/mine", ephemeral=True)
    session = client.client_id
    states = States(client)
    for _ in range(3):
        states.seen.clear()
        proxy.cut()
        states.until(KazooState.SUSPENDED, KazooState.CONNECTED)
        until(lambda: client.connected)
        assert client.client_id == session
    assert KazooState.LOST not in states.seen
    assert clients(root).exists("/mine").owner_session_id == session[0]


def test_a_silent_network_expires_the_session(clients: Clients, proxy: TcpProxy, root: str) -> None:
    watcher = clients(root)
    client = clients(root, port=proxy.port, timeout=SHORT_S)
    client.create("/mine", ephemeral=True)
    gone: queue.Queue[WatchedEvent] = queue.Queue()
    watcher.exists("/mine", watch=gone.put)
    states, session = States(client), client.client_id
    proxy.silent = True
    assert gone.get(timeout=WAIT_S).type == "DELETED"
    states.until(KazooState.SUSPENDED)
    proxy.silent = False
    proxy.cut()
    states.until(KazooState.SUSPENDED, KazooState.LOST, KazooState.CONNECTED)
    assert client.client_id[0] != session[0]
    assert client.exists("/mine") is None


def test_an_expired_session_is_told_and_a_new_one_begun(clients: Clients, root: str) -> None:
    client = clients(root)
    client.create("/mine", ephemeral=True)
    client.create("/stays")
    states, session = States(client), client.client_id[0]
    expire(clients, client)
    states.until(KazooState.LOST, KazooState.CONNECTED)
    until(lambda: client.connected)
    assert client.client_id[0] != session
    assert client.exists("/mine") is None
    assert client.exists("/stays") is not None


def test_a_lock_is_lost_with_its_session_and_taken_by_the_next(clients: Clients, root: str) -> None:
    holder, heir = clients(root), clients(root)
    assert holder.Lock("/lock", "a").acquire()
    waiting = Thread(lambda: heir.Lock("/lock", "b").acquire(timeout=WAIT_S))
    until(lambda: heir.exists("/lock") and len(heir.get_children("/lock")) == 2)
    expire(clients, holder)
    assert waiting.result()
    assert heir.Lock("/lock").contenders() == ["b"]


def test_a_waiting_lock_survives_a_cut(clients: Clients, proxy: TcpProxy, root: str) -> None:
    holder, waiter = clients(root), clients(root, port=proxy.port)
    lock = holder.Lock("/lock", "a")
    assert lock.acquire()
    waiting = Thread(lambda: waiter.Lock("/lock", "b").acquire(timeout=WAIT_S))
    until(lambda: len(holder.get_children("/lock")) == 2)
    states = States(waiter)
    proxy.cut()
    states.until_connected_again()
    lock.release()
    assert waiting.result()


def test_an_election_passes_on_over_expiry(clients: Clients, root: str) -> None:
    first, second = clients(root), clients(root)
    led: queue.Queue[str] = queue.Queue()
    stop: queue.Queue[None] = queue.Queue()

    def lead(name: str) -> None:
        led.put(name)
        stop.get(timeout=WAIT_S)

    leading = Thread(lambda: first.Election("/e", "a").run(lead, "a"))
    assert led.get(timeout=WAIT_S) == "a"
    following = Thread(lambda: second.Election("/e", "b").run(lead, "b"))
    until(lambda: len(second.get_children("/e")) == 2)
    expire(clients, first)
    assert led.get(timeout=WAIT_S) == "b"
    stop.put(None)
    stop.put(None)
    following.result()
    leading.result()


def known(cache: TreeCache, path: str) -> bytes | None:
    """What the cache has there, if it has anything yet."""
    node = cache.get_data(path)
    return None if node is None else node.data


def test_watchers_and_cache_go_on_over_cut_and_expiry(clients: Clients, root: str) -> None:
    client, writer = clients(root), clients(root)
    writer.create("/tree/x", b"1", makepath=True)
    data: list[bytes] = []
    names: list[list[str]] = []
    client.DataWatch("/tree/x", lambda value, stat: data.append(value))
    client.ChildrenWatch("/tree", lambda found: names.append(sorted(found)))
    cache = TreeCache(client, "/tree")
    cache.start()
    for number, harm in enumerate((lambda: client._connection._socket.shutdown(2), lambda: expire(clients, client))):
        states = States(client)
        harm()
        writer.set("/tree/x", b"after%d" % number)
        writer.create(f"/tree/y{number}")
        states.until_connected_again()
        until(lambda number=number: data[-1] == b"after%d" % number, "DataWatch")
        until(lambda number=number: f"y{number}" in names[-1], "ChildrenWatch")
        until(lambda number=number: f"y{number}" in cache.get_children("/tree"), "TreeCache")
        until(lambda number=number: known(cache, "/tree/x") == b"after%d" % number, "TreeCache")
        client.remove_listener(states.seen.append)
    cache.close()


def test_a_partitioner_fails_with_its_session_and_the_others_take_over(clients: Clients, root: str) -> None:
    one, two = clients(root), clients(root)
    items = ("p", "q", "r")
    first = one.SetPartitioner("/set", items, identifier="a", time_boundary=0.1)
    second = two.SetPartitioner("/set", items, identifier="b", time_boundary=0.1)

    def settled() -> bool:
        for partitioner in (first, second):
            if partitioner.release:
                partitioner.release_set()
        return first.acquired and second.acquired and sorted([*first, *second]) == sorted(items)

    until(settled)
    expire(clients, one)
    until(lambda: first.failed)

    def alone() -> bool:
        if second.release:
            second.release_set()
        return second.acquired and sorted(second) == sorted(items)

    until(alone)
    second.finish()


@pytest.mark.parametrize("harm", ["stop", "kill"])
def test_a_server_that_comes_back_has_every_session_ephemeral_and_lock(tmp_path: Path, harm: str) -> None:
    server = ServerProcess(tmp_path / "server")
    server.start()
    with Clients(server.port) as clients:
        client, watcher = clients(timeout=30.0), clients(timeout=30.0)
        client.create("/data", b"kept")
        client.create("/mine", b"e", ephemeral=True)
        assert client.Lock("/lock", "a").acquire()
        values: list[bytes] = []
        watcher.DataWatch("/data", lambda value, stat: values.append(value))
        sessions = [client.client_id, watcher.client_id]
        states = [States(client), States(watcher)]
        zxid = client.set("/data", b"before").mzxid
        (server.stop if harm == "stop" else server.kill)()
        for state in states:
            state.until(KazooState.SUSPENDED)
        server.start()
        for state in states:
            state.until(KazooState.SUSPENDED, KazooState.CONNECTED)
            assert KazooState.LOST not in state.seen
        until(lambda: client.connected and watcher.connected)
        assert [client.client_id, watcher.client_id] == sessions
        assert client.retry(client.exists, "/mine").owner_session_id == sessions[0][0]
        assert watcher.retry(watcher.Lock("/lock").contenders) == ["a"]
        assert client.retry(client.set, "/data", b"after").mzxid > zxid
        until(lambda: values[-1] == b"after")
    server.stop()
