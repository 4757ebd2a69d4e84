"""HTTP on the one port: health, metrics, and the commands of ZooKeeper's AdminServer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_views import FakeServerView

from coordserver.core.model.errors import WireError
from coordserver.wire.admin.access import Admin
from coordserver.wire.admin.commands import COMMANDS
from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts, SnapshotFacts

DOWN = ServerFacts(version="3.9.0-x", serving=False)
CHANGES = sorted(name for command in COMMANDS if command.changes for name in command.names)


def ask(admin: Admin, request: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body."""
    pieces = admin.http(request.encode(), (("ip", "127.0.0.1"),))
    assert pieces is not None
    parts = (part.decode() if isinstance(part, bytes) else part or "" for part in pieces)
    head, _, body = "".join(parts).partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    assert first.startswith("HTTP/1.1 ")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def get(path: str, view: FakeServerView | None = None, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost:2181", **headers}.items())
    admin = Admin(view or FakeServerView(), frozenset(), hosts=frozenset({"coord.example"}))
    status, told, body = ask(admin, f"{method} {path} HTTP/1.1\r\n{lines}\r\n")
    assert told["Connection"] == "close"
    if method != "HEAD" and "Content-Length" in told:
        assert int(told["Content-Length"]) == len(body.encode())
    return status, body


def command(name: str, view: FakeServerView | None = None, **headers: str) -> Any:
    """A command's JSON."""
    status, body = get(f"/commands/{name}", view, **headers)
    assert status == 200
    return json.loads(body)


# -- health and metrics ---------------------------------------------------------------------------------------------


def test_health_tells_readiness() -> None:
    assert get("/readyz") == (200, "ok\n")
    assert get("/readyz?verbose", FakeServerView(DOWN)) == (503, "not serving\n")
    assert get("/livez", FakeServerView(DOWN)) == (200, "ok\n")
    assert get("/livez", method="HEAD") == (200, "")
    assert get("/livez", method="POST")[0] == 405


def test_metrics_are_prometheus_text() -> None:
    status, body = get("/metrics")
    assert status == 200
    assert "\n# TYPE znode_count gauge\nznode_count 8\n" in body
    assert "\n# TYPE fsynctime summary\nfsynctime_sum 0\nfsynctime_count 0\n" in body
    typed: set[str] = set()
    for line in body.splitlines():
        if line.startswith("#"):
            match = re.fullmatch(r"# (HELP|TYPE) ([a-z_]+) \S.*", line)
            assert match is not None, line
            typed.add(match[2])
        else:
            match = re.fullmatch(r"([a-z_]+?)(_sum|_count)? -?[0-9.]+", line)
            assert match is not None, line
            assert match[1] in typed or match[1] + (match[2] or "") in typed, line


# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /none HTTP/1.1", 404),
        ("GET / HTTP/1.1", 404),
        ("PUT /livez HTTP/1.1", 405),
        ("POST /commands HTTP/1.1", 405),
        ("POST /commands/ruok HTTP/1.1", 405),
        ("GET nonsense", 400),
        ("GET /livez HTTP/2.0", 400),
        ("GET livez HTTP/1.1", 400),
        ("GET //[ HTTP/1.1", 400),
        ("GET /livez HTTP/1.1\r\nno colon", 400),
        ("GET /livez HTTP/1.1\r\nA: b\r\n folded", 400),
        ("GET /livez HTTP/1.0", 200),
        ("GET /%6civez HTTP/1.1", 200),
    ],
)
def test_what_is_answered_to_a_request(request_line: str, status: int) -> None:
    got, headers, body = ask(Admin(FakeServerView(), frozenset()), f"{request_line}\r\n\r\n")
    assert (got, int(headers["Content-Length"])) == (status, len(body))
    assert body
    assert ("Allow" in headers) == (status == 405)


def test_a_head_without_end_is_refused() -> None:
    admin = Admin(FakeServerView(), frozenset())
    assert admin.http(b"GET /" + b"x" * 8_000, ()) is None
    with pytest.raises(WireError):
        admin.http(b"GET /" + b"x" * 9_000, ())
    with pytest.raises(WireError):
        admin.http(b"GET /" + b"x" * 9_000 + b"\r\n\r\n", ())


@given(st.binary(max_size=100))
def test_any_head_gets_a_response(data: bytes) -> None:
    pieces = Admin(FakeServerView(), frozenset()).http(b"GET " + data + b"\r\n\r\n", ())
    assert pieces is not None
    assert next(pieces).startswith("HTTP/1.1 ")


# -- commands -------------------------------------------------------------------------------------------------------


def test_the_index_links_every_command() -> None:
    status, body = get("/commands")
    assert status == 200
    assert re.findall(r'<a href="/commands/(\w+)">\1</a>', body) == [one.names[0] for one in COMMANDS]
    assert get("/commands/") == (status, body)


@pytest.mark.parametrize("name", [name for one in COMMANDS if not one.changes for name in one.names])
def test_every_command_says_its_name_and_its_error(name: str) -> None:
    view = FakeServerView(
        links=[ConnectionFacts(address="h:1", operations=1, secure=secure) for secure in (False, True, False)],
        sessions={1: 5, 2: 5},
        owned={1: ['/"quoted"', "/b"]},
        watched={"/a": [1, 2], "/ü": [2]},
    )
    answer = command(name, view)
    primary = next(one.names[0] for one in COMMANDS if name in one.names)
    assert answer["command"] == primary
    assert answer["error"] == ("server is not initialized" if primary == "leader" else None)
    while_down = command(name, FakeServerView(DOWN))
    assert while_down["command"] == primary
    assert (while_down["error"] is None) == (primary in ("environment", "get_trace_mask", "ruok", "system_properties"))


def test_listings() -> None:
    links = [ConnectionFacts(address=f"h:{port}", operations=1, secure=port > 1) for port in range(4)]
    view = FakeServerView(
        links=links, sessions={1: 5, 2: 5, 3: 6}, owned={1: ["/a"]}, watched={"/a": [1, 2], "/b": [2]}
    )
    found = command("connections", view)
    assert [one["remote_socket_address"] for one in found["connections"]] == ["h:0", "h:1"]
    assert [one["remote_socket_address"] for one in found["secure_connections"]] == ["h:2", "h:3"]
    assert command("dump", view) == {
        "expiry_time_to_session_ids": {"5": [1, 2], "6": [3]},
        "session_id_to_ephemeral_paths": {"1": ["/a"]},
        "command": "dump",
        "error": None,
    }
    assert command("watches", view)["session_id_to_watched_paths"] == {"1": ["/a"], "2": ["/a", "/b"]}
    assert command("watches_by_path", view)["path_to_session_ids"] == {"/a": [1, 2], "/b": [2]}


def test_configuration_and_snapshot() -> None:
    assert command("conf") == {"client_port": 2181, "data_dir": "/d", "command": "configuration", "error": None}
    assert command("lsnp")["zxid"] == "ffffffffffffffff"
    assert command("lsnp", FakeServerView(snapshot=SnapshotFacts(0x1F, 99)))["zxid"] == "1f"
    assert command("icfg")["initial_configuration"] == "tick_time_ms=2000\n"
    assert command("monitor")["znode_count"] == 8


def test_unknown_commands_and_none_at_all() -> None:
    assert command("nonsense") == {"command": "nonsense", "error": "Unknown command: nonsense"}
    without = Admin(FakeServerView(), frozenset(), commands=False)
    assert ask(without, "GET /commands/ruok HTTP/1.1\r\n\r\n")[0] == 404
    assert ask(without, "GET /livez HTTP/1.1\r\n\r\n")[0] == 200


# -- what changes something -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_changes_need_authorization(name: str, method: str) -> None:
    """DESIGN §5: HTTP that changes anything needs Authorization and refuses a foreign Origin or Host."""
    view = FakeServerView(credentials={"digest root:x": True, "digest bob:x": False})
    path = f"/commands/{name}?traceMask=5"
    assert get(path, view, method)[0] == 401
    assert get(path, view, method, Authorization="digest wrong")[0] == 401
    assert get(path, view, method, Authorization="digest bob:x")[0] == 403
    root = {"Authorization": "digest root:x"}
    for foreign in ("evil.example", "evil.example:2181", "", "127.0.0.1.evil.example"):
        assert get(path, view, method, **root, Host=foreign)[0] == 403, foreign
    for origin in ("http://evil.example", "null", "https://localhost:2182"):
        assert get(path, view, method, **root, Origin=origin)[0] == 403, origin
    assert get(path, view, "HEAD", **root)[0] == 405
    assert (view.resets, view.trace_mask) == ([], 306)

    for ours in ("127.0.0.1:2181", "[::1]:2181", "[::1]", "localhost", "coord.example:1", "10.0.0.1"):
        assert get(path, view, method, **root, Host=ours)[0] == (503 if name in ("restore", "rest") else 200), ours
    if name in ("restore", "rest"):  # there is no such change, but who may ask is told first
        assert (view.resets, view.trace_mask) == ([], 306)
        return
    assert get(path, view, method, **root, Origin="http://localhost:2181")[0] == 200
    assert view.trace_mask == 5 or view.resets


def test_a_snapshot_is_waited_for_and_streamed() -> None:
    view = FakeServerView(credentials={"ip": True}, bytes_taken=b"s" * 200_000)
    request = b"GET /commands/snapshot%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: ip\r\n\r\n"
    pieces = Admin(view, frozenset()).http(request % b"?streaming=true", ()) or ()
    waited, waited_again, head, *parts = pieces
    assert waited is waited_again is None
    assert isinstance(head, str)
    assert "last_zxid: 0x1f\r\nsnapshot_size: 200000\r\n" in head
    assert b"".join(part for part in parts if isinstance(part, bytes)) == view.bytes_taken
    assert command("snapshot?streaming=false", view, Authorization="ip")["snapshot_size"] == 200_000
    view.bytes_taken = b""
    assert get("/commands/snap", view, Authorization="ip")[0] == 503


def test_what_they_change() -> None:
    view = FakeServerView(credentials={"ip": True})
    for name in ("crst", "stat_reset"):
        assert command(name, view, Authorization="ip")["error"] is None
    assert view.resets == ["connections", "server"]
    assert command("stmk?traceMask=-7", view, Authorization="ip")["tracemask"] == -7
    for wrong in ("stmk", "stmk?traceMask=x", f"stmk?traceMask={2**63}"):
        assert "requires long" in command(wrong, view, Authorization="ip")["error"]
    assert view.trace_mask == -7


TELLING = sorted(name for command in COMMANDS if not command.changes for name in command.names)


@pytest.mark.parametrize("name", TELLING)
def test_a_page_in_a_browser_reads_nothing_of_a_server_for_this_machine_only(name: str) -> None:
    """By DNS rebinding it could; a server that others reach is called by names that it does not know."""

    def status(local: bool, header: str) -> int:
        admin = Admin(FakeServerView(), frozenset(), hosts=frozenset({"coord.example"}), local=local)
        return ask(admin, f"GET /commands/{name} HTTP/1.1\r\n{header}\r\n\r\n")[0]

    known = status(local=False, header="Host: localhost:2181")
    for foreign in ("Host: evil.example:2181", "Host: localhost:2181\r\nOrigin: http://evil.example"):
        assert status(local=True, header=foreign) == 403
        assert status(local=False, header=foreign) == known
    for ours in ("Host: localhost:2181", "Host: coord.example", "Host: [::1]:2181", "Accept: */*"):
        assert status(local=True, header=ours) == known
