"""ZooKeeper's files in the forms that a real one cannot be made to leave on command: fuzzy, old, new, damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from zookeeper_writer import (
    SYSTEM,
    acl,
    buffer,
    create,
    entry,
    log,
    snappy_stream,
    snapshot,
    text,
    vector,
    znode,
)

from coordserver.core.model.acl import ACL
from coordserver.core.state.machine import Machine
from coordserver.core.state.znode import Znode
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.snappy_stream import decompress
from coordserver.storage.zookeeper_import import ZooKeeperState, read_zookeeper

CONTAINER = -(1 << 63)


def read(directory: Path, taken: bytes, *entries: bytes, zxid: int = 10) -> ZooKeeperState:
    """A snapshot of this zxid, and one log."""
    (directory / f"snapshot.{zxid:x}").write_bytes(taken)
    (directory / "log.1").write_bytes(log(*entries))
    return read_zookeeper(directory)


def nodes(directory: Path, taken: bytes, *entries: bytes) -> dict[str, Znode]:
    return read(directory, taken, *entries).machine.tree.nodes


def counters(node: Znode) -> tuple[int, int]:
    return node.creates, node.pzxid


def test_a_child_that_the_snapshot_had_already(tmp_path: Path) -> None:
    """Serialized after its creation, the parent before: the parent's counters are repaired from the record."""
    fuzzy = snapshot([*SYSTEM, znode("/p", creates=1, pzxid=8), znode("/p/a", zxid=12), znode("/p/b", zxid=8)])
    found = read(tmp_path, fuzzy, create(11, "/other", 1), create(12, "/p/a", 5))
    tree = found.machine.tree.nodes
    assert counters(tree["/p"]) == (5, 12)
    assert tree["/p/a"].czxid == 12
    assert "1 of them already in the snapshot" in found.report[1]


def test_a_record_from_before_does_not_put_counters_back(tmp_path: Path) -> None:
    fuzzy = snapshot([*SYSTEM, znode("/p", creates=9, pzxid=30)])
    tree = nodes(tmp_path, fuzzy, create(11, "/p/a", 4), entry(12, 2, text("/p/a")))
    assert counters(tree["/p"]) == (9, 30)


def test_a_child_that_was_gone_when_the_snapshot_passed(tmp_path: Path) -> None:
    """Its parent was serialized before, so the record of the deletion still moves pzxid."""
    fuzzy = snapshot([*SYSTEM, znode("/p", creates=1, pzxid=8)])
    assert counters(nodes(tmp_path, fuzzy, entry(11, 2, text("/p/gone")))["/p"]) == (1, 11)


@pytest.mark.parametrize("body", [b"", vector([text("/e1"), text("/e2")]), vector([])])
@pytest.mark.parametrize("digest", [b"", struct.pack(">iq", 2, 0), struct.pack(">iq", 2, 1 << 33)])
def test_a_session_ends_with_its_ephemerals_whether_or_not_they_are_listed(
    tmp_path: Path, body: bytes, digest: bytes
) -> None:
    taken = snapshot([*SYSTEM, znode("/e1", owner=9), znode("/e2", owner=9), znode("/e3", owner=8)], {9: 4_000, 8: 1})
    machine = read(tmp_path, taken, entry(11, -11, body, digest=digest)).machine
    assert machine.tree.ephemerals == {8: {"/e3": None}}
    assert list(machine.sessions) == [8]
    assert machine.tree.nodes["/"].pzxid == 11


def test_owners_tell_containers_and_ttls(tmp_path: Path) -> None:
    ttl = entry(12, 21, text("/t2") + buffer(None) + acl() + struct.pack(">iq", 3, 5_000))
    container = entry(13, 19, text("/c2") + buffer(b"") + acl() + struct.pack(">i", 4))
    marked, session = -(1 << 56), -(1 << 56) + 5
    znodes = [znode("/c", owner=CONTAINER), znode("/t", owner=marked | 60_000), znode("/e", owner=session)]
    taken = snapshot([*SYSTEM, *znodes], {session: 1_000})
    tree = read(tmp_path, taken, ttl, container).machine.tree
    ttls = {path: node.ttl for path, node in tree.nodes.items() if node.ttl}
    assert ttls == {"/c": -1, "/t": 60_000, "/c2": -1, "/t2": 5_000}
    assert list(tree.ephemerals) == [session]


def test_a_failed_multi_changes_nothing_and_others_are_taken_part_by_part(tmp_path: Path) -> None:
    made = text("/m") + buffer(b"1") + acl() + b"\0" + struct.pack(">i", 1)

    def part(kind: int, body: bytes) -> bytes:
        return struct.pack(">i", kind) + buffer(body)

    failed = vector([part(-1, struct.pack(">i", 0)), part(-1, struct.pack(">i", -101))])
    done = vector(
        [part(13, text("/") + struct.pack(">i", 0)), part(1, made), part(5, text("/m") + buffer(b"2") + b"\0\0\0\7")]
    )
    half = vector([part(1, made), part(-1, struct.pack(">i", -101))])
    tree = nodes(tmp_path, snapshot(SYSTEM), entry(11, 14, half), entry(11, 14, failed), entry(12, 14, done))
    assert tree["/m"].czxid == 12
    assert (tree["/m"].data, tree["/m"].version, tree["/m"].mzxid) == (b"2", 7, 12)


@pytest.mark.parametrize("version", ["3.5", "3.6", "3.9"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".snappy"])
def test_snapshots_of_all_versions(tmp_path: Path, version: str, suffix: str) -> None:
    data = snapshot([*SYSTEM, znode("/a", b"x", key=7)], version=version)
    name = tmp_path / f"snapshot.a{suffix}"
    name.write_bytes({"": bytes, ".gz": gzip.compress, ".snappy": snappy_stream}[suffix](data))
    node = read_zookeeper(tmp_path).machine.tree.nodes["/a"]
    assert (node.data, node.acl) == (b"x", (ACL(1, "digest", "ann:x"),))


def test_every_damage_to_a_snappy_stream_is_noticed(tmp_path: Path) -> None:
    stream = snappy_stream(snapshot([*SYSTEM, znode("/a", b"some data" * 20)], version="3.9"), block_bytes=100)
    assert decompress(stream + stream) == 2 * decompress(stream)
    for at in range(len(stream)):
        for bad in (stream[:at], stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1 :]):
            (tmp_path / "snapshot.1.snappy").write_bytes(bad)
            try:
                found = read_zookeeper(tmp_path).machine.tree.nodes["/a"].data
            except CorruptionError as fault:
                assert str(fault).count("snapshot.1.snappy") == 1  # noqa: PT017 - what is read by chance is right
            else:
                assert found == b"some data" * 20  # the version that wrote it does not matter


def test_a_snappy_block_is_not_larger_than_java_makes_them() -> None:
    size = b"\xff\xff\xff\xff\x0f"  # 4 GiB - 1, as a raw block begins
    with pytest.raises(ValueError, match="a block of 4294967295 bytes at offset 20"):
        decompress(snappy_stream(b"")[:16] + len(size).to_bytes(4, "big") + size)


def test_every_damage_to_a_snapshot_is_noticed(tmp_path: Path) -> None:
    data = snapshot([*SYSTEM, znode("/a", b"some data")], version="3.9")
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            (tmp_path / "snapshot.1").write_bytes(bad)
            try:
                found = read_zookeeper(tmp_path).machine
            except CorruptionError:
                continue
            # What ends behind one of the seals is a snapshot of an older ZooKeeper.
            assert bad == data[:at]
            assert found.tree.nodes["/a"].data == b"some data"


def test_a_torn_tail_ends_a_log_and_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    whole = create(11, "/a", 1) + create(12, "/b", 2)
    (tmp_path / "snapshot.a").write_bytes(snapshot(SYSTEM))
    first = len(log()) - 100 + len(create(11, "/a", 1))
    data = log(whole)
    for cut in range(first, len(data) - 101):
        (tmp_path / "log.1").write_bytes(data[:cut])
        assert "/b" not in read_zookeeper(tmp_path).machine.tree.nodes
    (tmp_path / "log.1").write_bytes(data[: first + 20] + b"?" + data[first + 21 :])
    with pytest.raises(CorruptionError, match="checksum"):
        read_zookeeper(tmp_path)


def test_what_cannot_be_replayed_stops_it(tmp_path: Path) -> None:
    with pytest.raises(CorruptionError, match="type 99"):
        read(tmp_path, snapshot(SYSTEM), entry(11, 99))
    with pytest.raises(CorruptionError, match="too early"):
        read(tmp_path, snapshot(SYSTEM), entry(11, 5, text("/a"), digest=b""))


def test_a_missing_log_file_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, snapshot(SYSTEM), create(11, "/a", 1), create(14, "/b", 2), create((1 << 32) + 1, "/c", 3))
    assert [line for line in found.report if "GAP" in line] == [
        "GAP IN THE LOG: zxid 0xb is followed by 0xe; is a log file missing?"
    ]


def test_the_ensemble_that_was_left_is_forgotten(tmp_path: Path) -> None:
    config = znode("/zookeeper/config", b"server.1=old:2888:3888")
    tree = nodes(tmp_path, snapshot([SYSTEM[0], SYSTEM[1], config, SYSTEM[3]]))
    assert tree["/zookeeper/config"].data == b""


def test_directories_without_a_zookeeper(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no snapshot"):
        read_zookeeper(tmp_path)
    with pytest.raises(StorageError, match="not a directory"):
        read_zookeeper(tmp_path / "nowhere")
    (tmp_path / "version-2").mkdir()
    (tmp_path / "version-2" / "snapshot.0").write_bytes(snapshot(SYSTEM[:1]))
    machine: Machine = read_zookeeper(tmp_path).machine
    assert set(machine.tree.nodes) == {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}
