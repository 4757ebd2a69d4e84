"""Four-letter words and AdminServer's commands beside a real ZooKeeper's: the same keys, the same lines.

Both servers are given the same sessions, ephemerals and watches; numbers, times and addresses are made alike before the
answers are compared line by line. What ZooKeeper tells and we do not is listed here, each with its reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from differential.peers import ABSENT, TICK_MS, ZOOKEEPER_JAR, _wait_serving, free_port, our_server
from differential.raw import RawClient

from coordserver.core.model.operations import Op

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]

SERVLETS = ("/usr/share/java/servlet-api.jar", "/usr/share/java/jetty9-util-ajax.jar")

WORDS = [
    "ruok",
    "srvr",
    "stat",
    "conf",
    "cons",
    "envi",
    "isro",
    "dirs",
    "dump",
    "wchs",
    "wchc",
    "wchp",
    "gtmk",
    "crst",
    "srst",
]

TOLD = [
    "version",
    "server_state",
    "avg_latency",
    "min_latency",
    "max_latency",
    "packets_received",
    "packets_sent",
    "num_alive_connections",
    "outstanding_requests",
    "znode_count",
    "watch_count",
    "ephemerals_count",
    "approximate_data_size",
    "open_file_descriptor_count",
    "max_file_descriptor_count",
    "global_sessions",
    "local_sessions",
    "uptime",
    "auth_failed_count",
    "connection_drop_probability",
    "outstanding_tls_handshake",
    "bytes_received_count",
    "connection_rejected",
    "large_requests_rejected",
    "stale_sessions_expired",
    "avg_fsynctime",
    "max_fsynctime",
    "cnt_fsynctime",
    "sum_fsynctime",
    "avg_snapshottime",
    "cnt_snapshottime",
    "last_client_response_size",
    "min_client_response_size",
    "max_client_response_size",
    "non_mtls_local_conn_count",
    "non_mtls_remote_conn_count",
    "connection_request_count",
    "connection_revalidate_count",
    "response_bytes",
    "watch_bytes",
    "cnt_sync_processor_batch_size",
    "cnt_dbinittime",
]
"""Names of `mntr` that mean something here; tests/wire/test_metrics.py has all."""


class Peers(NamedTuple):
    """Client port and AdminServer's port of each."""

    real: tuple[int, int]
    ours: tuple[int, int]


@contextmanager
def zookeeper_with_admin(directory: Path) -> Iterator[tuple[int, int]]:
    """A real one, with all words and its AdminServer; its ports."""
    directory.mkdir(parents=True)
    port, admin = free_port(), free_port()
    config = directory / "zoo.cfg"
    config.write_text(
        f"tickTime={TICK_MS}\ndataDir={directory / 'data'}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        f"4lw.commands.whitelist=*\nadmin.serverPort={admin}\nadmin.serverAddress=127.0.0.1\nmaxClientCnxns=0\n"
    )
    path = ":".join((str(ZOOKEEPER_JAR), *SERVLETS))
    command = ["java", "-cp", path, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]
    with (directory / "out.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_serving(port, process)
        yield port, admin
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Both, each with two sessions that hold ephemerals and watches."""
    base = tmp_path_factory.mktemp("words")
    with zookeeper_with_admin(base / "real") as real, our_server(base / "ours") as port:
        ours = port, port
        clients = [client for port in (real[0], ours[0]) for client in busy_clients(port)]
        yield Peers(real, ours)
        for client in clients:
            client.drop()


def busy_clients(port: int) -> list[RawClient]:
    """Two clients that have asked for this and that."""
    one, two = RawClient(port), RawClient(port)
    one.connect(timeout_ms=20_000)
    two.connect(timeout_ms=40_000)
    for client, op, arguments in (
        (one, Op.CREATE, ("/e", b"x", None, 1, 0)),
        (two, Op.CREATE, ("/f", b"x", None, 1, 0)),
        (two, Op.CREATE, ("/g", b"x", None, 0, 0)),
        (one, Op.GET_DATA, ("/e", True)),
        (two, Op.GET_DATA, ("/e", True)),
        (two, Op.EXISTS, ("/none", True)),
        (one, Op.GET_CHILDREN, ("/", True)),
        (one, Op.ADD_WATCH, ("/p", 0, -1)),
        (one, Op.ADD_WATCH, ("/r", 1, -1)),
        (two, Op.PING, ()),
    ):
        answer = client.request(op, arguments)
        assert answer.error in (0, -101), answer
    return [one, two]


def say(port: int, data: bytes) -> str:
    """A word's whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(data)
        answer = b""
        while part := sock.recv(65_536):
            answer += part
    return answer.decode()


def alike(text: str, *, ordered: bool) -> list[str]:
    """Lines without what differs from server to server and from run to run."""
    text = re.sub(r"expire at .* 20\d\d", "expire at DATE", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"0x[0-9a-f]+", "HEX", text)
    text = re.sub(r"(?m)^(Zookeeper version: ).*$", r"\1VERSION", text)
    text = re.sub(r"(?m)^(data(Log)?Dir)=.*$", r"\1=DIRECTORY", text)
    text = re.sub(r"-?\d+(\.\d+)?", "N", text)
    lines = text.split("\n")
    return lines if ordered else sorted(lines)


@pytest.mark.parametrize("word", [word for word in WORDS if word != "envi"])
def test_a_word_has_the_same_lines(peers: Peers, word: str) -> None:
    """zookeeper.md §1.10."""
    real, ours = (say(port, word.encode()) for port, _ in peers)
    if word == "dump":  # which sessions and connections expire in one tick is up to the moment
        assert set(alike(ours, ordered=False)) == set(alike(real, ordered=False))
        return
    ordered = word not in ("stat", "cons", "wchc", "wchp")
    assert alike(ours, ordered=ordered) == alike(real, ordered=ordered)


def test_counts_are_the_same(peers: Peers) -> None:
    """Of znodes, watches, sessions and requests."""
    for port, _ in peers:
        say(port, b"srst")
    real, ours = (say(port, b"srvr").splitlines() for port, _ in peers)
    wanted = ("Connections", "Outstanding", "Mode", "Node count", "Received")
    assert [line for line in ours if line.startswith(wanted)] == [line for line in real if line.startswith(wanted)]
    assert say(peers.ours[0], b"wchs") == say(peers.real[0], b"wchs")


def test_environment_has_the_keys_that_are_not_of_java(peers: Peers) -> None:
    real, ours = ({line.split("=")[0] for line in say(port, b"envi").splitlines()} for port, _ in peers)
    assert {key for key in real - ours if not key.startswith(("java.", "os.memory."))} == set()
    assert all(key.startswith("python.") for key in ours - real)


def test_monitored_names_are_zookeepers_or_begin_with_coord(peers: Peers) -> None:
    """zookeeper.md §1.10, mntr."""
    real, ours = ({line.split("\t")[0] for line in say(port, b"mntr").splitlines()} for port, _ in peers)
    assert {key for key in ours - real if not key.startswith("zk_coord_")} == set()
    assert {f"zk_{name}" for name in TOLD} <= ours & real


def test_trace_mask(peers: Peers) -> None:
    for port, _ in peers:
        assert say(port, b"stmk" + (77).to_bytes(8, "big")) == "77"
        assert say(port, b"gtmk") == "77"


COMMANDS = [
    "configuration",
    "connections",
    "dirs",
    "dump",
    "environment",
    "get_trace_mask",
    "is_read_only",
    "last_snapshot",
    "leader",
    "monitor",
    "ruok",
    "server_stats",
    "stats",
    "voting_view",
    "watches",
    "watches_by_path",
    "watch_summary",
    "initial_configuration",
    "set_trace_mask",
    "hash",
    "observers",
    "observer_connection_stat_reset",
    "zabstate",
    "nonsense",
]
ALIASES = [
    "conf",
    "config",
    "cons",
    "env",
    "envi",
    "gtmk",
    "icfg",
    "isro",
    "lsnp",
    "lead",
    "mntr",
    "srvr",
    "stat",
    "sysp",
    "wchs",
    "wchc",
    "wchp",
    "stmk",
    "obsr",
    "orst",
]


def command(port: int, name: str) -> Any:
    """A command's JSON."""
    headers = {"Authorization": "ip"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/commands/{name}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


NOT_IN_JSON = {"non_mtlsremote_conn_count", "non_mtlslocal_conn_count", "provider_null", "client_response_stats"}


def shape(value: Any) -> Any:
    """Keys and kinds of values, without keys that are data or that only a JVM has."""
    if isinstance(value, dict):
        left = {key: shape(inner) for key, inner in value.items() if key not in NOT_IN_JSON}
        if left and all(key.isdigit() or key.startswith("/") for key in left):
            return sorted({str(inner) for inner in left.values() if inner})  # ZooKeeper keeps empty sets for a tick
        return left
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return "number" if type(value) in (int, float) else type(value).__name__


@pytest.mark.skipif(not all(map(os.path.exists, SERVLETS)), reason="AdminServer needs its servlet container")
@pytest.mark.parametrize("name", COMMANDS + ALIASES)
def test_a_command_has_the_same_members(peers: Peers, name: str) -> None:
    """zookeeper.md §6.5."""
    real, ours = (command(port, name) for _, port in peers)
    assert ours["command"] == real["command"]
    assert (ours["error"] is None) == (real["error"] is None)
    real, ours = shape(real), shape(ours)
    if name in ("environment", "env", "envi", "monitor", "mntr", "sysp"):
        return  # compared as words; a JVM's properties are its own
    for only_in_conf in ("data_dir_size", "data_log_size", "secure_client_port"):
        ours.pop(only_in_conf, None)
    assert ours == real


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_gets_an_index(peers: Peers) -> None:
    real, ours = (
        subprocess.run(
            ["curl", "-sf", f"http://127.0.0.1:{port}/commands"], capture_output=True, text=True, check=True
        ).stdout
        for _, port in peers
    )
    missing = set(re.findall(r">(\w+)<", real)) - set(re.findall(r">(\w+)<", ours))
    assert missing == set()
