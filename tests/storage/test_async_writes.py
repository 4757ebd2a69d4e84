"""Writes by the C library's threads, on a real file. That they are signalled is looked at in a process of its own: the
threads of a test's process are older than what is tested."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordserver.storage import async_writes
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.file_disk import FileDisk

SIGNALLED = """
import os, select, sys
from pathlib import Path
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.file_disk import FileDisk

directory = Path(sys.argv[1])
writes = AsyncWrites.tried(directory)
assert writes is not None, "it was tried in vain"
assert not list(directory.iterdir()), "the trial left something"
descriptor = os.open(directory / "file", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
for turn in range(200):
    writes.begin(descriptor, turn, b"x")
    assert select.select([writes.fd], [], [], 10)[0], "no signal"
    assert writes.finished() == 1
    assert not select.select([writes.fd], [], [], 0)[0], "a signal is left over"
"""


LATE = """
import os, signal
from coordserver.storage.async_writes import AsyncWrites

before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
writes = AsyncWrites()
[used] = signal.pthread_sigmask(signal.SIG_BLOCK, ()) - before
signal.raise_signal(used)
writes.close()
signal.raise_signal(used)
"""


@pytest.fixture
def writes() -> Iterator[AsyncWrites]:
    made = AsyncWrites()
    yield made
    made.close()


def waited(writes: AsyncWrites) -> int:
    for _ in range(10_000):
        written = writes.finished()
        if written is not None:
            return written
        time.sleep(0.001)
    raise AssertionError("it is not done")


def opened(path: Path, flags: int = os.O_RDWR) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_DSYNC)


def test_what_was_written_is_where_it_belongs(writes: AsyncWrites, tmp_path: Path) -> None:
    descriptor = opened(tmp_path / "file")
    try:
        for offset, data in ((3, b"abc"), (6, b"d" * 100_000), (0, b"xyz")):
            assert not writes.busy
            writes.begin(descriptor, offset, data)
            assert writes.busy
            assert waited(writes) == len(data)
            assert not writes.in_progress()
    finally:
        os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"xyzabc" + b"d" * 100_000


def test_a_write_that_fails_says_why(writes: AsyncWrites, tmp_path: Path) -> None:
    descriptor = opened(tmp_path / "file", os.O_RDONLY)
    try:
        writes.begin(descriptor, 0, b"abc")
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            waited(writes)
    finally:
        os.close(descriptor)
    assert caught.value.errno == errno.EBADF
    assert not writes.busy


def test_a_full_device_is_told(writes: AsyncWrites) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        writes.begin(descriptor, 0, b"abc")
        with pytest.raises(OSError, match="No space left"):
            waited(writes)
    finally:
        os.close(descriptor)


def test_signals_are_blocked_as_they_were_behind_it() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    writes = AsyncWrites()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) - before
    writes.close()
    assert len(blocked) == 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(next(iter(blocked))) is signal.SIG_IGN


def test_each_write_is_signalled_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr


def test_where_the_library_is_another_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_writes, "_is_glibc", lambda: False)
    assert AsyncWrites.tried(tmp_path) is None


def test_where_nothing_can_be_written_there_is_none(tmp_path: Path) -> None:
    assert AsyncWrites.tried(tmp_path / "missing") is None


def test_what_the_disk_gives_for_it_is_durable_and_the_same_file(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path)
    file = disk.create("file", 4_096)
    disk.rename("file", "renamed")
    descriptor = file.durable_descriptor()
    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC
    os.pwrite(descriptor, b"here", 10)
    assert disk.read("renamed", 10, 4) == b"here"
    assert file.durable_descriptor() == descriptor
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_signal_that_comes_after_the_end_ends_nobody() -> None:
    """The library says that a write is done before it signals."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
