"""`coord snapshot` and `coord check`, on directories and on a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result
from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl
from server_process import ServerProcess
from zookeeper_writer import SYSTEM, snapshot, znode

from cli import main
from cli.snapshot import download, work
from coordserver.core.model.access import digest_identity
from coordserver.core.state.machine import Machine
from coordserver.storage import FileDisk, read_state

SUPER = "digest:super:secret"
SUPER_DIGEST = digest_identity(b"super:secret").id
LOCKED = make_digest_acl("ann", "x", all=True)


def call(*arguments: object) -> Result:
    """Run `coord` in this process; a fault that it does not know is raised."""
    result = CliRunner().invoke(main.root, [str(part) for part in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*arguments: object) -> dict[str, Any]:
    result = call(*arguments, "-o", "json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 1
    return result.output


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One with a small tree, and a session that has an ephemeral."""
    directory = tmp_path_factory.mktemp("server")
    running = ServerProcess(directory, "--super-digest", SUPER_DIGEST, "--tick-time-ms", "5000")
    running.start()
    zk = KazooClient(f"127.0.0.1:{running.port}", auth_data=[("digest", "ann:x"), ("digest", "super:secret")])
    zk.start()
    try:
        fill(zk)
        yield running
    finally:
        zk.stop()
        zk.close()
        running.kill()


def fill(zk: KazooClient) -> None:
    zk.create("/app", b"text")
    zk.create("/app/\u00fc", b"\x00\xff")
    zk.create("/app/locked", b"secret", acl=[LOCKED, make_acl("world", "anyone", read=True)])
    zk.create("/app/eph", b"", ephemeral=True)
    for number in range(450):
        zk.create(f"/app/{number:03}", b"%d" % number)
    zk.create("/other")
    zk.create("/sealed", b"", acl=[LOCKED])


def address(server: ServerProcess) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def saved(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the running server."""
    file = tmp_path_factory.mktemp("saved") / "snap"
    about = told("snapshot", "save", address(server), file, "--auth", SUPER)
    assert about["bytes"] == file.stat().st_size
    assert about["znodes"] == 4 + 3 + 1 + 450 + 2
    assert about["sessions"] == 1
    return file


def test_a_snapshot_of_a_running_server_is_whole(saved: Path, tmp_path: Path) -> None:
    assert told("snapshot", "verify", saved)["whole"]
    data = bytearray(saved.read_bytes())
    for at in (3, 70, len(data) // 2, len(data) - 1):
        data[at] ^= 4
        (tmp_path / "bad").write_bytes(data)
        assert refused("snapshot", "verify", tmp_path / "bad")
        data[at] ^= 4
    (tmp_path / "bad").write_bytes(data[:-1])
    assert "ends inside" in refused("snapshot", "verify", tmp_path / "bad")


def test_saving_overwrites_nothing_and_leaves_nothing(server: ServerProcess, saved: Path, tmp_path: Path) -> None:
    assert "exists" in refused("snapshot", "save", address(server), saved, "--auth", SUPER)
    assert "refused" in refused("snapshot", "save", "127.0.0.1:1", tmp_path / "x")
    assert "no such file" in call("snapshot", "save", tmp_path / "nowhere", tmp_path / "x").output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["server", "directory", "file"])
def test_what_a_killed_save_left_is_in_nobodys_way(
    server: ServerProcess, saved: Path, tmp_path: Path, kind: str
) -> None:
    assert call("snapshot", "restore", saved, "--data-dir", tmp_path / "data").exit_code == 0
    source = {"server": address(server), "directory": tmp_path / "data", "file": saved}[kind]
    for left in ("snap.part", "snap.tmp", ".snap.0011223344556677.part", ".snap.0011223344556677.part.tmp"):
        (tmp_path / left).write_bytes(b"left")
    told("snapshot", "save", source, tmp_path / "snap", "--auth", SUPER)
    assert told("snapshot", "verify", tmp_path / "snap")["whole"]
    assert (tmp_path / "snap.part").read_bytes() == b"left"  # nobody knows whose it is
    assert list(tmp_path.glob(".snap.*")) == []


@pytest.mark.parametrize("name", ["snap", "other"])
def test_two_saves_at_once_do_not_meet(
    server: ServerProcess, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first downloads."""
    first = download.download
    second: list[Result] = []

    def download_later(*arguments: Any) -> None:
        monkeypatch.undo()
        first(*arguments)
        second.append(call("snapshot", "save", address(server), tmp_path / name, "--auth", SUPER))

    monkeypatch.setattr(work, "download", download_later)
    result = call("snapshot", "save", address(server), tmp_path / "snap", "--auth", SUPER)
    assert [one.exit_code for one in second] == [0]
    assert result.exit_code == (1 if name == "snap" else 0)
    assert (f"{tmp_path / 'snap'}: exists" in result.output) == (name == "snap")
    assert {path.name for path in tmp_path.iterdir()} == {"snap", name}
    for path in tmp_path.iterdir():
        assert told("snapshot", "verify", path)["whole"]


def test_a_file_that_cannot_be_written_is_named(server: ServerProcess, tmp_path: Path) -> None:
    """And not the server."""
    for file, why in ((tmp_path / "none" / "snap", "No such file or directory"), ("/dev/full/x", "Not a directory")):
        assert f"{file}: {why}" in refused("snapshot", "save", address(server), file, "--auth", SUPER)


def test_a_server_whose_root_is_locked_gives_nobody_a_snapshot(tmp_path: Path) -> None:
    locked = ServerProcess(tmp_path / "server", "--super-digest", SUPER_DIGEST)
    locked.start()
    try:
        zk = KazooClient(address(locked), auth_data=[("digest", "ann:x")])
        zk.start()
        zk.set_acls("/", [LOCKED])
        zk.stop()
        zk.close()
        assert "not every right" in refused("snapshot", "save", address(locked), tmp_path / "x")
        assert told("snapshot", "save", address(locked), tmp_path / "x", "--auth", "digest:ann:x")["znodes"] == 4
    finally:
        locked.kill()


def test_restored_into_a_directory(saved: Path, tmp_path: Path) -> None:
    about = told("snapshot", "restore", saved, "--data-dir", tmp_path / "data")
    assert (about["sessions_ended"], about["set_aside"]) == (1, [])
    state, _ = read_state(FileDisk(tmp_path / "data"), Machine)
    assert state.history_id.hex() == about["history"]
    assert "/app/eph" not in state.tree.nodes
    assert state.tree.nodes["/app/\u00fc"].data == b"\x00\xff"
    assert "has a history already" in refused("snapshot", "restore", saved, "--data-dir", tmp_path / "data")
    again = told("snapshot", "restore", saved, "--data-dir", tmp_path / "data", "--replace")
    assert len(again["set_aside"]) == 2
    assert again["zxid"] > about["zxid"]
    assert told("check", tmp_path / "data")["sound"]


def test_clients_of_a_restored_server_learn_that_their_session_has_ended(saved: Path, tmp_path: Path) -> None:
    """A client of before comes back to the restored server, with the zxids it has seen."""
    running = ServerProcess(tmp_path / "server")
    running.start()
    zk = KazooClient(address(running), timeout=10)
    try:
        zk.start()
        for _ in range(30):
            zk.create("/s-", sequence=True)
        session = zk.client_id
        states: list[str] = []
        zk.add_listener(states.append)
        running.kill()
        told("snapshot", "restore", saved, "--data-dir", tmp_path / "server" / "data", "--replace")
        running.start()
        assert zk.retry(zk.get, "/app")[0] == b"text"
        assert zk.client_id != session
        assert "LOST" in states
    finally:
        zk.stop()
        zk.close()
        running.kill()


def test_a_subtree_restored_into_a_running_server(server: ServerProcess, saved: Path) -> None:
    zk = KazooClient(address(server), auth_data=[("digest", "super:secret")])
    zk.start()
    try:
        counts = told("snapshot", "restore", saved, "--server", address(server), "--path", "/app", "--auth", SUPER)
        assert counts == {"created": 0, "changed": 0, "same": 453, "ephemerals": 1, "deleted": 0}
        zk.set("/app/locked", b"spoilt")
        zk.set_acls("/app/\u00fc", [LOCKED])
        for number in range(100, 350):
            zk.delete(f"/app/{number}")
        zk.create("/app/new/below", makepath=True)
        zk.set("/other", b"stays")
        options = ("--server", address(server), "--path", "/app", "--auth", SUPER, "--exact")
        counts = told("snapshot", "restore", saved, *options)
        assert counts == {"created": 250, "changed": 2, "same": 201, "ephemerals": 1, "deleted": 2}
        result = call("snapshot", "diff", saved, address(server), "--auth", SUPER, "-o", "json")
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert result.exit_code == 1
        assert {row["path"] for row in found if row["fields"] != ["version"]} == {"/other"}
        assert zk.exists("/app/eph") is not None
    finally:
        zk.set("/other", b"")
        zk.stop()
        zk.close()


def test_what_has_no_right_to_restore_is_told(server: ServerProcess, saved: Path) -> None:
    fault = refused("snapshot", "restore", saved, "--server", address(server), "--path", "/sealed")
    assert "/sealed" in fault
    missing = refused("snapshot", "restore", saved, "--server", address(server), "--path", "/nowhere")
    assert "/nowhere" in missing


def test_diff(saved: Path, tmp_path: Path) -> None:
    assert call("snapshot", "diff", saved, saved).exit_code == 0
    told("snapshot", "restore", saved, "--data-dir", tmp_path / "data")
    result = call("snapshot", "diff", saved, tmp_path / "data")
    assert (result.exit_code, result.output) == (1, "removed /app/eph\n")
    assert call("snapshot", "diff", tmp_path / "data", saved, "--path", "/other").exit_code == 0


def test_exported_and_imported_it_is_the_same(saved: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert call("snapshot", "export", saved, lines).exit_code == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    by_path = {row["path"]: row for row in rows[1:]}
    assert rows[0] == {"coord_export": 1, "root": "/", "zxid": rows[0]["zxid"]}
    assert by_path["/app"] == {"path": "/app", "data": "text"}
    assert by_path["/app/\u00fc"] == {"path": "/app/\u00fc", "data": "AP8=", "encoding": "base64"}
    assert by_path["/app/locked"]["acl"][0][1] == "digest"
    assert by_path["/app/eph"]["ephemeral"] is True
    told("snapshot", "import", lines, "--data-dir", tmp_path / "data")
    result = call("snapshot", "diff", saved, tmp_path / "data")
    assert result.output == "removed /app/eph\n"
    told("snapshot", "import", lines, "--data-dir", tmp_path / "whole", "--ephemerals")
    assert call("snapshot", "diff", saved, tmp_path / "whole").output == "changed /app/eph (kind)\n"


def test_imported_into_a_running_server(server: ServerProcess, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(
        '{"coord_export": 1, "root": "/in", "zxid": 1}\n'
        '{"path": "/in", "data": null}\n'
        '{"path": "/in/c", "data": "x", "container": true}\n'
        '{"path": "/in/t", "data": "", "ttl_ms": 90000}\n'
        '{"path": "/in/e", "data": "", "ephemeral": true}\n'
        '{"path": "/in/z", "data": "last"}\n'
    )
    counts = told("snapshot", "import", lines, "--server", address(server))
    assert (counts["created"], counts["ephemerals"]) == (4, 1)
    again = told("snapshot", "import", lines, "--server", address(server))
    assert (again["created"], again["same"]) == (0, 4)
    told("snapshot", "save", address(server), tmp_path / "snap", "--auth", SUPER)
    exported = call("snapshot", "export", tmp_path / "snap", "--path", "/in").stdout.splitlines()
    assert [json.loads(line) for line in exported[2:]] == [
        {"path": "/in/c", "data": "x", "container": True},
        {"path": "/in/t", "data": "", "ttl_ms": 90_000},
        {"path": "/in/z", "data": "last"},
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{}", "'path' is missing"),
        ("nonsense", "not JSON"),
        ('{"path": "a", "data": ""}', "not a path"),
        ('{"path": "/a", "data": "?", "encoding": "base64"}', "data"),
        ('{"path": "/a", "data": "", "acl": [[1]]}', "line 2"),
        ('{"path": "/a", "data": "", "ttl_ms": -1}', "ttl_ms"),
        ('{"path": "/a/b", "data": ""}', "/a does not exist"),
    ],
)
def test_lines_that_are_none_are_named(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "lines").write_text(f'{{"coord_export": 1}}\n{line}\n')
    assert named in refused("snapshot", "import", tmp_path / "lines", "--data-dir", tmp_path / "data")
    (tmp_path / "lines").write_text('{"coord_export": 2}\n')
    assert "version 2" in refused("snapshot", "import", tmp_path / "lines", "--data-dir", tmp_path / "data")


def test_moving_in_from_zookeeper(tmp_path: Path) -> None:
    (tmp_path / "version-2").mkdir()
    (tmp_path / "version-2" / "snapshot.7").write_bytes(
        snapshot([*SYSTEM, znode("/a", b"x"), znode("/e", owner=5)], {5: 1})
    )
    about = told("snapshot", "import-zookeeper", tmp_path, "--data-dir", tmp_path / "ours")
    assert (about["znodes"], about["sessions_ended"], about["zxid"]) == (5, 1, 1 << 32)
    assert call("check", tmp_path / "ours").output.endswith("whole\n")


def test_check_says_what_is_damaged(saved: Path, tmp_path: Path) -> None:
    told("snapshot", "restore", saved, "--data-dir", tmp_path / "data")
    (name,) = (path for path in (tmp_path / "data").iterdir() if path.name.startswith("snapshot"))
    data = bytearray(name.read_bytes())
    data[len(data) // 2] ^= 1
    name.write_bytes(data)
    result = call("check", tmp_path / "data")
    assert result.exit_code == 1
    assert "corrupt before offset" in result.output
    assert "a start is refused" in result.output
    assert result.output.endswith("DAMAGED\n")


def test_where_to_must_be_said(saved: Path, tmp_path: Path) -> None:
    assert call("snapshot", "restore", saved).exit_code == 2
    both = call("snapshot", "restore", saved, "--server", "h:1", "--data-dir", tmp_path / "x")
    assert "not both" in both.output


def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    running = ServerProcess(tmp_path / "server", "--tls-cert", str(cert), "--tls-key", str(key))
    running.start()
    try:
        assert told("snapshot", "save", address(running), tmp_path / "x", "--tls-ca", ca)["znodes"] == 4
        assert "CERTIFICATE_VERIFY_FAILED" in refused("snapshot", "save", address(running), tmp_path / "y", "--tls")
    finally:
        running.kill()
    assert not (tmp_path / "y").exists()
