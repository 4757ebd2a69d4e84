"""A real server on a small file system that is filled to the brim, from inside and from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from differential.raw import Answer, RawClient
from server_process import ServerProcess

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op

SIZE_MIB = 96
SEGMENT_BYTES = 8 << 20
BLOCK = b"\xa5" * 60_000
OPEN = ((31, "world", "anyone"),)
REFUSED = int(ErrorCode.MARSHALLING_ERROR)  # what ZooKeeper's clients are told (docs/protocol.md)
WAIT_S = 30.0
SESSION_MS = 4_000

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where the machine allows to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def server(small: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(small / "server", "--segment-bytes", str(SEGMENT_BYTES), "--session-timeout-min-ms", "1000")
    running.start()
    try:
        yield running
    finally:
        running.kill()


def connected(server: ServerProcess, timeout_ms: int = 40_000) -> RawClient:
    client = RawClient(server.port)
    response = client.connect(timeout_ms=timeout_ms)
    assert response is not None
    assert response.timeout_ms
    return client


def create(client: RawClient, path: str, data: bytes = b"", mode: int = 0) -> Answer:
    return client.request(int(Op.CREATE), (path, data, OPEN, mode))


def fill(client: RawClient, first: int) -> int:
    """Create until it is refused; how many there are then."""
    for number in range(first, 10_000):
        answer = create(client, f"/b/{number}", BLOCK)
        if answer.error:
            assert answer.error == REFUSED
            return number
    raise AssertionError("the disk does not become full")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def check(client: RawClient, count: int) -> None:
    """All that was acknowledged is there, and nothing else."""
    listed = client.request(int(Op.GET_CHILDREN2), ("/b", False)).result
    assert listed is not None
    assert set(listed[0]) == {str(number) for number in range(count)}
    found = client.request(int(Op.GET_DATA), (f"/b/{count - 1}", False)).result
    assert found is not None
    assert found[0] == BLOCK


def test_filled_from_inside(server: ServerProcess) -> None:
    """Writes are refused, everything else goes on; deletes make room by themselves; a kill loses nothing."""
    client = connected(server)
    assert not create(client, "/b").error
    count = fill(client, 0)
    assert count > 50
    check(client, count)
    assert create(client, "/x", BLOCK).error == REFUSED
    other = connected(server)
    assert not other.request(int(Op.CLOSE_SESSION), ()).error
    other.drop()
    server.kill()
    client.drop()
    server.start()
    client = connected(server)
    check(client, count)
    until(lambda: bool(create(client, "/x", BLOCK).error), "full before, full again")
    for number in range(count - 1, count // 4, -1):
        assert not client.request(int(Op.DELETE), (f"/b/{number}", -1)).error
    until(lambda: not create(client, "/again", BLOCK).error, "it does not end by itself")
    check(client, count // 4 + 1)
    client.drop()


def test_filled_from_outside(server: ServerProcess, small: Path) -> None:
    """To the last byte: nothing is written, no session expires; when there is room again all goes on."""
    short = connected(server, SESSION_MS)
    client = connected(server)
    assert not create(client, "/b").error
    assert not create(short, "/b/ephemeral", b"", 1).error
    short.drop()
    hog = small / "hog"
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    until(lambda: bool(create(client, "/b/probe", BLOCK).error), "the full disk is not noticed")
    deadline = time.monotonic() + 2 * SESSION_MS / 1000
    while time.monotonic() < deadline:
        assert not client.request(int(Op.EXISTS), ("/b", False)).error
        time.sleep(0.2)
    hog.unlink()
    until(lambda: not create(client, "/b/late", BLOCK).error, "it does not end by itself")
    until(lambda: client.request(int(Op.EXISTS), ("/b/ephemeral", False)).error == ErrorCode.NO_NODE, "never expired")
    client.drop()
    assert server.metrics()["coord_apply_faults"] == 0
