"""The data directory of a real ZooKeeper, moved in: random histories with snapshots in their midst, then every znode,
Stat and ACL of the real server's tree beside ours."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from differential.histories import OPEN, make
from differential.peers import ABSENT, our_server, real_zookeeper
from differential.raw import RawClient
from differential.run import Runner

from coordserver.core.model.access import digest_identity
from coordserver.core.model.operations import Op
from coordserver.core.state.machine import Machine
from coordserver.storage.backup import Installed, restore
from coordserver.storage.data_dir import open_data_dir
from coordserver.storage.errors import CorruptionError
from coordserver.storage.file_disk import FileDisk
from coordserver.storage.recovery import read_state
from coordserver.storage.zookeeper_import import read_zookeeper

pytestmark = [pytest.mark.skipif(bool(ABSENT), reason=ABSENT), pytest.mark.timeout(180)]

SUPER = b"super:secret"
SUPER_DIGEST = digest_identity(SUPER).id
PROPERTIES = {"DigestAuthenticationProvider.superDigest": SUPER_DIGEST, "snapCount": "60", "enforceQuota": "true"}
SEEDS = range(24)
WRITERS = 3
WRITES = 300

Tree = dict[str, tuple[Any, ...]]


def opened(port: int) -> RawClient:
    """A client that may do everything."""
    client = RawClient(port)
    client.connect(timeout_ms=30_000)
    assert not client.auth("digest", SUPER).error
    return client


def create(client: RawClient, path: str, data: bytes | None = b"", mode: int = 0, op: Op = Op.CREATE) -> str:
    answer = client.request(int(op), (path, data, OPEN, mode, 600_000))
    assert answer.result is not None, (path, answer)
    return str(answer.result[0])


def tree_of(port: int) -> Tree:
    """Data, Stat, ACL and children of every znode."""
    client = opened(port)
    found: Tree = {}
    pending = ["/"]
    while pending:
        path = pending.pop()
        answers = client.pipeline(
            [
                (int(Op.GET_DATA), (path, False)),
                (int(Op.GET_ACL), (path,)),
                (int(Op.GET_CHILDREN2), (path, False)),
            ]
        )
        data, acl, listing = (answer.result for answer in answers)
        assert data is not None
        assert acl is not None
        assert listing is not None
        found[path] = (*data, acl[0], sorted(listing[0]))
        pending += [f"{path.rstrip('/')}/{name}" for name in listing[0]]
    client.request(int(Op.CLOSE_SESSION), ())
    client.drop()
    return found


def write_much(port: int, name: str) -> None:
    """Creates and deletes, with sessions that end meanwhile: what makes a snapshot fuzzy."""
    client = opened(port)
    made: list[str] = []
    for number in range(WRITES):
        if number % 7 == 3:
            client.request(int(Op.DELETE), (made.pop(number % len(made)), -1))
        elif number % 50 == 20:
            client.request(int(Op.CLOSE_SESSION), ())
            client.drop()
            client = opened(port)
            made = [path for path in made if "/e-" not in path]
        else:
            kind, mode = (("e-", 3), ("s-", 2), ("s-", 2))[number % 3]
            made.append(create(client, f"/busy/{kind}", f"{name}{number}".encode(), mode))
        client.request(int(Op.SET_DATA), ("/busy", b"%d" % number, -1))
    client.request(int(Op.CLOSE_SESSION), ())
    client.drop()


def play(port: int) -> None:
    """Fill a real server."""
    client = opened(port)
    create(client, "/busy")
    writers = [threading.Thread(target=write_much, args=(port, f"w{n}")) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for seed in SEEDS:
        Runner(port, make(seed, 30)).run()
    for writer in writers:
        writer.join()
    create(client, "/container", b"c", 4, Op.CREATE_CONTAINER)
    create(client, "/ttl", None, 5, Op.CREATE_TTL)
    for path in ("/zookeeper/quota/busy", "/zookeeper/quota/busy/zookeeper_limits"):
        create(client, path, b"count=5,bytes=-1" if "limits" in path else None)
    create(client, "/zookeeper/quota/busy/zookeeper_stats")
    create(client, "/busy/more", b"x" * 33)
    create(client, "/left")
    create(client, "/left/behind", b"", 1)
    create(client, "/left/stays")
    client.drop()


class Left:
    """A real server's data directory, killed, and the tree that it had."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "zk" / "data"
        with real_zookeeper(directory / "zk", **PROPERTIES) as port:
            play(port)
            self.tree = tree_of(port)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return Left(tmp_path_factory.mktemp("left"))


def install(left: Left, directory: Path) -> Installed:
    directory.mkdir()
    with open_data_dir(directory / "data") as disk:
        return restore(disk, read_zookeeper(left.data_dir).machine)


def test_every_znode_stat_and_acl_is_that_of_the_real_server(left: Left, tmp_path: Path) -> None:
    installed = install(left, tmp_path / "ours")
    assert installed.sessions_ended > 0
    with our_server(tmp_path / "ours", "--super-digest", SUPER_DIGEST) as port:
        ours = tree_of(port)
    expected = dict(left.tree)
    data, stat, acl, _ = expected.pop("/left")
    assert expected.pop("/left/behind")[1].ephemeral_owner
    assert len(expected) > 500
    mine = ours.pop("/left")
    changed = stat._replace(cversion=stat.cversion + 1, num_children=1, pzxid=mine[1].pzxid)
    assert mine == (data, changed, acl, ["stays"])
    assert mine[1].pzxid > stat.pzxid
    different = {path: (expected.get(path), ours.get(path)) for path in expected.keys() | ours.keys()}
    assert {path: both for path, both in different.items() if both[0] != both[1]} == {}


def test_containers_ttls_and_quotas_go_on(left: Left, tmp_path: Path) -> None:
    install(left, tmp_path / "ours")
    machine = _state(tmp_path / "ours" / "data")
    tree = machine.tree
    assert tree.nodes["/ttl"].ttl == 600_000
    assert {"/container", "/ttl"} <= tree.reapable.keys()
    assert "/busy" in tree.quotas.limited
    assert machine.sessions == tree.ephemerals == {}


def test_every_snapshot_with_the_logs_behind_it_gives_the_same_tree(left: Left, tmp_path: Path) -> None:
    """Fuzzy as they are, repaired by replay."""
    snapshots = sorted((left.data_dir / "version-2").glob("snapshot.*"), key=lambda path: int(path.suffix[1:], 16))
    assert len(snapshots) > 5
    newest = read_zookeeper(left.data_dir).machine
    for snapshot in snapshots[-6:-1]:
        older = tmp_path / snapshot.name
        older.mkdir()
        (older / snapshot.name).symlink_to(snapshot)
        found = read_zookeeper(older, left.data_dir)
        assert not [line for line in found.report if "GAP" in line]
        assert _plain(found.machine) == _plain(newest)


def test_a_damaged_snapshot_is_passed_over_and_a_damaged_log_is_not(left: Left, tmp_path: Path) -> None:
    copy = tmp_path / "version-2"
    copy.mkdir()
    for path in (left.data_dir / "version-2").iterdir():
        (copy / path.name).symlink_to(path)
    whole = read_zookeeper(tmp_path).machine
    newest = max(copy.glob("snapshot.*"), key=lambda path: int(path.suffix[1:], 16))
    _flip(newest, newest.stat().st_size // 2)
    found = read_zookeeper(tmp_path)
    assert found.report[0].startswith("SNAPSHOT UNUSABLE")
    assert _plain(found.machine) == _plain(whole)
    last = max(copy.glob("log.*"), key=lambda path: int(path.suffix[1:], 16))
    _flip(last, 40)
    with pytest.raises(CorruptionError, match="checksum of the entry is wrong"):
        read_zookeeper(tmp_path)


@pytest.mark.parametrize("method", ["snappy", "gz"])
def test_snapshots_that_a_real_one_compressed(tmp_path: Path, method: str) -> None:
    written = {**PROPERTIES, "snapshot.compression.method": method}
    with real_zookeeper(tmp_path / "real", **written) as port:
        client = opened(port)
        for number in range(300):
            create(client, f"/n{number}", b"%d" % number * 50)
        client.drop()
    files = tmp_path / "real" / "data" / "version-2"
    assert any(path.suffix == f".{method}" and path.stat().st_size > 1_000 for path in files.glob("snapshot.*"))
    found = read_zookeeper(tmp_path / "real" / "data")
    assert not any(line.startswith("SNAPSHOT UNUSABLE") for line in found.report)
    nodes = found.machine.tree.nodes
    assert [nodes[f"/n{number}"].data for number in range(300)] == [b"%d" % number * 50 for number in range(300)]


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.unlink()
    path.write_bytes(data)


def _state(data_dir: Path) -> Machine:
    return read_state(FileDisk(data_dir), Machine)[0]


def _plain(machine: Machine) -> dict[str, Any]:
    return {
        path: (node.data, node.stat(), node.acl, node.ttl, sorted(node.children or ()))
        for path, node in machine.tree.nodes.items()
    }
