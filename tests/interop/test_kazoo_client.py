"""kazoo's public client API against a real server process."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)
from kazoo.protocol.states import EventType, KeeperState, WatchedEvent
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_acl, make_digest_acl
from kazoo_clients import WAIT_S, Clients, States, came, until


@pytest.fixture
def zk(clients: Clients, root: str) -> KazooClient:
    """A client chrooted to this test's znode."""
    return clients(root)


def told(events: queue.Queue[WatchedEvent]) -> WatchedEvent:
    """The next event of a watch."""
    return events.get(timeout=WAIT_S)


# -- life of a client -------------------------------------------------------------------------------------------------


def test_start_stop_restart_and_states(clients: Clients) -> None:
    client = clients.make()
    states = States(client)
    assert not client.connected
    client.start(timeout=WAIT_S)
    assert client.connected
    assert client.client_state == KeeperState.CONNECTED
    session, password = client.client_id
    assert session != 0
    assert len(password) == 16
    client.restart()
    states.until(KazooState.CONNECTED, KazooState.LOST, KazooState.CONNECTED)
    assert client.client_id[0] != session, "a restart ends the session"
    client.stop()
    states.until(KazooState.CONNECTED, KazooState.LOST, KazooState.CONNECTED, KazooState.LOST)
    with pytest.raises(ZookeeperError):
        client.get("/")
    client.start(timeout=WAIT_S)
    assert client.exists("/") is not None


def test_start_async_and_listeners(clients: Clients) -> None:
    client = clients.make()
    seen: list[str] = []
    client.add_listener(seen.append)
    client.remove_listener(seen.append)
    came(client.start_async())
    assert seen == []


def test_a_session_goes_on_with_its_id(clients: Clients, root: str) -> None:
    first = clients(connection_retry={"max_tries": 0})  # it would take its session back otherwise
    first.create(f"{root}/mine", ephemeral=True)
    identity, states = first.client_id, States(first)
    second = clients(client_id=identity)
    states.until(KazooState.SUSPENDED)
    assert second.client_id == identity
    assert second.exists(f"{root}/mine").owner_session_id == identity[0]
    second.stop()
    assert clients().exists(f"{root}/mine") is None


def test_a_wrong_password_is_an_expired_session_and_does_no_harm(clients: Clients, root: str) -> None:
    victim = clients()
    victim.create(f"{root}/mine", ephemeral=True)
    states = States(victim)
    thief = clients.make(client_id=(victim.client_id[0], b"\x00" * 16))
    thief.start(timeout=WAIT_S)  # is refused, and begins a session of its own
    assert thief.client_id[0] != victim.client_id[0]
    assert victim.exists(f"{root}/mine") is not None
    assert states.seen == []


def test_chroot(clients: Clients, root: str) -> None:
    clients().ensure_path(f"{root}/deep/er")
    inside = clients(f"{root}/deep/er")
    assert inside.create("/a", b"1") == "/a"
    assert inside.create("/s-", sequence=True) == "/s-0000000001"
    assert clients().get(f"{root}/deep/er/a")[0] == b"1"
    assert inside.unchroot(f"{root}/deep/er/a") == "/a"
    seen: queue.Queue[WatchedEvent] = queue.Queue()
    inside.get("/a", watch=seen.put)
    inside.set("/a", b"2")
    assert told(seen) == WatchedEvent(EventType.CHANGED, KeeperState.CONNECTED, "/a")


def test_the_read_only_flag_is_mirrored(clients: Clients) -> None:
    client = clients(read_only=True)
    assert client.client_state == KeeperState.CONNECTED, "a server that writes is connected, not CONNECTED_RO"
    assert client.exists("/") is not None


def test_unlimited_reconnect(clients: Clients) -> None:
    client = clients(connection_retry={"max_tries": -1, "delay": 0.01, "backoff": 1, "max_delay": 0.01})
    states = States(client)
    for _ in range(5):
        client._connection._socket.shutdown(2)
        states.until_connected_again()
        states.seen.clear()
        assert client.retry(client.exists, "/") is not None


def test_management_commands(clients: Clients) -> None:
    client = clients()
    assert client.command(b"ruok") == "imok"
    assert "zk_server_state\tstandalone" in client.command(b"mntr")
    assert "Mode: standalone" in client.command(b"srvr")
    with pytest.raises(ConnectionLoss):
        clients.make().command()


def test_the_version_is_one_that_clients_can_compare(clients: Clients) -> None:
    assert clients().server_version() >= (3, 9)


def test_reconfig_is_disabled(clients: Clients) -> None:
    client = clients()
    with pytest.raises(ZookeeperError) as refused:
        client.reconfig(joining="server.9=host:2888:3888;2181", leaving=None, new_members=None)
    assert type(refused.value).code == -123
    assert client.get("/zookeeper/config")[0] == b""


# -- znodes -----------------------------------------------------------------------------------------------------------


def test_create_with_every_flag(zk: KazooClient) -> None:
    assert zk.create("/plain") == "/plain"
    assert zk.get("/plain")[0] == b""
    assert zk.create("/seq-", b"x", sequence=True) == "/seq-0000000001"
    assert zk.create("/eph", b"e", ephemeral=True) == "/eph"
    assert zk.create("/both-", ephemeral=True, sequence=True) == "/both-0000000003"
    assert zk.create("/a/b/c", b"deep", makepath=True) == "/a/b/c"
    path, stat = zk.create("/with", b"data", include_data=True)
    assert (path, stat.version, stat.data_length, stat.owner_session_id) == ("/with", 0, 4, None)
    path, stat = zk.create("/one/two/e-", b"d", ephemeral=True, sequence=True, makepath=True, include_data=True)
    assert path == "/one/two/e-0000000000"
    assert stat.owner_session_id == zk.client_id[0]
    assert zk.get("/eph")[1].owner_session_id == zk.client_id[0]
    with pytest.raises(NodeExistsError):
        zk.create("/plain")
    with pytest.raises(NoNodeError):
        zk.create("/no/such")
    with pytest.raises(NoChildrenForEphemeralsError):
        zk.create("/eph/child")
    with pytest.raises(InvalidACLError):
        zk.create("/bad", acl=[make_acl("nosuch", "x", all=True)])


def test_create_async_and_pipelined(zk: KazooClient) -> None:
    results = [zk.create_async(f"/n{i}", b"%d" % i) for i in range(200)]
    assert [result.get(timeout=WAIT_S) for result in results] == [f"/n{i}" for i in range(200)]
    reads = [zk.get_async(f"/n{i}") for i in range(200)]
    assert [read.get(timeout=WAIT_S)[0] for read in reads] == [b"%d" % i for i in range(200)]
    failing = zk.create_async("/n0")
    with pytest.raises(NodeExistsError):
        failing.get(timeout=WAIT_S)
    done = threading.Event()
    linked = zk.exists_async("/n1")
    linked.rawlink(lambda _: done.set())
    came(done)
    assert linked.successful()
    assert zk.create_async("/deep/down", makepath=True, include_data=True).get(timeout=WAIT_S)[1].version == 0
    assert zk.set_async("/n1", b"s").get(timeout=WAIT_S).version == 1
    assert zk.get_children_async("/deep").get(timeout=WAIT_S) == ["down"]
    assert zk.get_acls_async("/n1").get(timeout=WAIT_S)[0] == OPEN_ACL_UNSAFE
    assert zk.set_acls_async("/n1", READ_ACL_UNSAFE).get(timeout=WAIT_S).aversion == 1
    assert zk.ensure_path_async("/x/y/z").get(timeout=WAIT_S)
    assert zk.sync_async("/x").get(timeout=WAIT_S)
    zk.delete_async("/n2").get(timeout=WAIT_S)
    assert zk.exists("/n2") is None


def test_exists_get_set_and_stats(zk: KazooClient) -> None:
    assert zk.exists("/none") is None
    with pytest.raises(NoNodeError):
        zk.get("/none")
    zk.create("/a", b"one")
    data, stat = zk.get("/a")
    assert (data, stat.version, stat.children_count, stat.data_length) == (b"one", 0, 0, 3)
    assert stat.czxid == stat.mzxid == stat.pzxid == stat.creation_transaction_id
    assert stat.ctime == stat.mtime
    after = zk.set("/a", b"longer", version=0)
    assert (after.version, after.data_length, after.czxid) == (1, 6, stat.czxid)
    assert after.mzxid > stat.mzxid
    with pytest.raises(BadVersionError):
        zk.set("/a", b"x", version=0)
    with pytest.raises(NoNodeError):
        zk.set("/none", b"")
    zk.create("/a/child")
    stat = zk.exists("/a")
    assert (stat.cversion, stat.children_count, stat.version) == (1, 1, 1)
    zk.set("/a", None)
    assert zk.get("/a")[0] is None, "null is not the same as empty"
    zk.set("/a", b"")
    assert zk.get("/a")[0] == b""


def test_children_with_and_without_stat(zk: KazooClient) -> None:
    zk.create("/p")
    for name in ("b", "a", "é", "with space"):
        zk.create(f"/p/{name}")
    assert sorted(zk.get_children("/p")) == ["a", "b", "with space", "é"]
    names, stat = zk.get_children("/p", include_data=True)
    assert sorted(names) == ["a", "b", "with space", "é"]
    assert (stat.children_count, stat.cversion) == (4, 4)
    with pytest.raises(NoNodeError):
        zk.get_children("/none")


def test_delete_and_delete_recursive(zk: KazooClient) -> None:
    zk.ensure_path("/t/a/b")
    zk.ensure_path("/t/c")
    with pytest.raises(NotEmptyError):
        zk.delete("/t")
    with pytest.raises(BadVersionError):
        zk.delete("/t/c", version=7)
    with pytest.raises(NoNodeError):
        zk.delete("/t/none")
    zk.delete("/t/c", version=0)
    zk.delete("/t", recursive=True)
    assert zk.exists("/t") is None


def test_sync_retry_and_ensure_path(zk: KazooClient) -> None:
    assert zk.ensure_path("/x/y")
    assert zk.ensure_path("/x/y")
    assert zk.sync("/x") == "/x"
    assert zk.sync("/not/there") == "/not/there"
    assert zk.retry(zk.get, "/x/y")[0] == b""


def test_transactions(zk: KazooClient) -> None:
    zk.create("/a", b"0")
    with zk.transaction() as both:
        both.check("/a", 0)
        both.create("/b", b"1")
        both.create("/s-", sequence=True, ephemeral=True)
        both.set_data("/a", b"2")
        both.delete("/b", 0)
    assert zk.get("/a")[0] == b"2"
    good = zk.transaction()
    good.create("/c")
    good.set_data("/c", b"c", 0)
    good.check("/c", 1)
    path, stat, checked = good.commit()
    assert (path, stat.version, checked) == ("/c", 1, True)
    bad = zk.transaction()
    bad.create("/d")
    bad.check("/c", 9)
    bad.delete("/c")
    rolled_back, wrong, after = bad.commit()
    assert isinstance(rolled_back, RolledBackError)
    assert isinstance(wrong, BadVersionError)
    assert isinstance(after, RuntimeInconsistency)
    assert zk.exists("/d") is None
    assert zk.transaction().commit() == []
    many = zk.transaction()
    for i in range(1_000):
        many.create(f"/many{i}")
    assert many.commit_async().get(timeout=WAIT_S) == [f"/many{i}" for i in range(1_000)]


def test_a_request_over_the_limit_costs_the_connection_only(zk: KazooClient) -> None:
    states = States(zk)
    zk.create("/small", ephemeral=True)
    with pytest.raises(ConnectionLoss):
        zk.create("/large", b"x" * 1_048_576)
    states.until_connected_again()
    assert zk.retry(zk.exists, "/small") is not None
    assert zk.create("/largest", b"x" * 1_000_000) == "/largest"
    assert len(zk.get("/largest")[0]) == 1_000_000


# -- rights -----------------------------------------------------------------------------------------------------------


def test_acls(zk: KazooClient, clients: Clients, root: str) -> None:
    zk.create("/a")
    assert zk.get_acls("/a")[0] == OPEN_ACL_UNSAFE
    mine = [make_digest_acl("user", "secret", all=True)]
    assert zk.set_acls("/a", mine, version=0).aversion == 1
    with pytest.raises(NoAuthError):
        zk.get("/a")
    with pytest.raises(NoAuthError):
        zk.set_acls("/a", mine, version=1)
    assert zk.add_auth("digest", "user:secret")
    assert zk.get("/a")[0] == b""
    assert zk.get_acls("/a")[0] == mine
    with pytest.raises(BadVersionError):
        zk.set_acls("/a", mine, version=0)
    zk.create("/theirs", acl=CREATOR_ALL_ACL)
    assert zk.get_acls("/theirs")[0] == mine
    other = clients(root, auth_data=[("digest", "user:secret")], default_acl=mine)
    assert other.get("/theirs")[0] == b""
    other.create("/default")
    assert other.get_acls("/default")[0] == mine
    with pytest.raises(NoAuthError):
        clients(root).get("/default")


def test_auth_is_shown_again_after_a_reconnect(zk: KazooClient) -> None:
    zk.add_auth("digest", "user:secret")
    zk.create("/mine", b"x", acl=[make_digest_acl("user", "secret", all=True)])
    states = States(zk)
    zk._connection._socket.shutdown(2)
    states.until_connected_again()
    assert zk.retry(zk.get, "/mine")[0] == b"x"


# -- watches ----------------------------------------------------------------------------------------------------------


def test_a_watch_hears_of_one_change_only(zk: KazooClient) -> None:
    """kazoo calls watches and answers from two threads: their order is tested on the wire (differential)."""
    seen: queue.Queue[WatchedEvent] = queue.Queue()
    zk.create("/a")
    zk.get("/a", watch=seen.put)
    zk.set("/a", b"1")
    zk.set("/a", b"2")
    assert told(seen) == WatchedEvent(EventType.CHANGED, KeeperState.CONNECTED, "/a")
    zk.sync("/a")
    assert seen.empty()


@pytest.mark.parametrize(
    ("arm", "change", "kind"),
    [
        (lambda zk, watch: zk.exists("/new", watch=watch), lambda zk: zk.create("/new"), EventType.CREATED),
        (lambda zk, watch: zk.exists("/a", watch=watch), lambda zk: zk.set("/a", b""), EventType.CHANGED),
        (lambda zk, watch: zk.get("/a", watch=watch), lambda zk: zk.delete("/a"), EventType.DELETED),
        (lambda zk, watch: zk.get_children("/a", watch=watch), lambda zk: zk.create("/a/b"), EventType.CHILD),
        (lambda zk, watch: zk.get_children("/a", watch=watch), lambda zk: zk.delete("/a"), EventType.DELETED),
    ],
)
def test_each_watch(clients: Clients, arm: Any, change: Any, kind: str) -> None:
    root = f"/each-{clients().client_id[0]}"
    clients().ensure_path(root + "/a")
    zk, seen = clients(root), queue.Queue[WatchedEvent]()
    arm(zk, seen.put)
    change(clients(root))
    event = told(seen)
    assert event.type == kind
    assert event.state == KeeperState.CONNECTED
    change_again = clients(root)
    change_again.ensure_path("/a")
    change_again.set("/a", b"again")
    zk.sync("/")
    assert seen.empty(), "a one-shot watch came twice"


def test_data_and_children_watch(zk: KazooClient, clients: Clients, root: str) -> None:
    data: queue.Queue[bytes | None] = queue.Queue()
    children: queue.Queue[list[str]] = queue.Queue()
    zk.DataWatch("/w", lambda value, stat: data.put(value))
    assert data.get(timeout=WAIT_S) is None
    writer = clients(root)
    writer.create("/w", b"1")
    assert data.get(timeout=WAIT_S) == b"1"
    zk.ChildrenWatch("/w", lambda names: children.put(sorted(names)))
    assert children.get(timeout=WAIT_S) == []
    writer.set("/w", b"2")
    assert data.get(timeout=WAIT_S) == b"2"
    writer.create("/w/a")
    assert children.get(timeout=WAIT_S) == ["a"]
    writer.create("/w/b")
    assert children.get(timeout=WAIT_S) == ["a", "b"]
    writer.delete("/w", recursive=True)
    until(lambda: data.get(timeout=WAIT_S) is None)


def test_watchers_go_on_after_a_reconnect(zk: KazooClient, clients: Clients, root: str) -> None:
    zk.create("/w", b"1")
    seen: list[bytes] = []
    names: list[list[str]] = []
    zk.DataWatch("/w", lambda value, stat: seen.append(value))
    zk.ChildrenWatch("/w", lambda found: names.append(sorted(found)))
    until(lambda: seen and names)
    states = States(zk)
    zk._connection._socket.shutdown(2)
    writer = clients(root)
    writer.set("/w", b"2")
    writer.create("/w/x")
    states.until_connected_again()
    until(lambda: seen[-1] == b"2" and names[-1] == ["x"])
    writer.set("/w", b"3")
    writer.create("/w/y")
    until(lambda: seen[-1] == b"3" and names[-1] == ["x", "y"])
