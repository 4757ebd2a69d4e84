"""`coord quickstart` as its user runs it: once, again, with a port taken, and with its parent killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cli.quickstart.layout import Layout, plan

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

GONE_S = 30
FIGURES = ("27,004", "27,188,805", "265,801", "4,637", "9,893", "9,161", "7,950")


def free_offset() -> int:
    """A port offset at which the whole layout is free now."""
    for offset in range(11_000, 57_000, 1_000):
        with ExitStack() as probes:
            try:
                for port in plan(Path("/"), offset).ports:
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return offset
    raise AssertionError("no free block of ports")


def command(data_dir: Path, offset: int, *more: str) -> list[str]:
    """The quickstart's command line."""
    return [sys.executable, "-m", "cli", "quickstart", "--data-dir", str(data_dir), "--port-offset", str(offset), *more]


def finished(data_dir: Path, offset: int) -> subprocess.CompletedProcess[str]:
    """A quickstart that stops by itself."""
    arguments = command(data_dir, offset, "--no-keep")
    return subprocess.run(arguments, capture_output=True, text=True, timeout=200, check=False)


def test_it_does_the_main_job_and_does_it_again_on_the_same_directory(tmp_path: Path) -> None:
    """The figures are on the screen, the logs in their files, and nothing is left running."""
    offset = free_offset()
    for _ in range(2):
        done = finished(tmp_path / "data", offset)
        assert done.returncode == 0, done.stderr + done.stdout
        for figure in FIGURES:
            assert figure in done.stdout
    logs = {path.name for path in (tmp_path / "data" / "log").iterdir()}
    assert logs == {f"{spec.name}.log" for spec in (plan(tmp_path).server, *plan(tmp_path).roles)}
    check_free(plan(tmp_path, offset))


def check_free(layout: Layout) -> None:
    """Nobody listens on any port of the layout."""
    for port in layout.ports:
        with socket.socket() as asking:
            assert asking.connect_ex(("127.0.0.1", port)) != 0, f"somebody still listens on {port}"


def test_what_cannot_be_started_is_said_in_one_line(tmp_path: Path) -> None:
    """A port in use, a missing directory, a directory that is held."""
    offset = free_offset()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", plan(tmp_path, offset).roles[0].port))
        taken.listen()
        done = finished(tmp_path / "data", offset)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert f"{plan(tmp_path, offset).roles[0].port}" in done.stderr
    done = finished(tmp_path / "missing" / "data", offset)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "missing" in done.stderr


@contextmanager
def kept(data_dir: Path, offset: int) -> Iterator[subprocess.Popen[str]]:
    """A quickstart that keeps its cluster running, once it says so."""
    with subprocess.Popen(command(data_dir, offset), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "Ctrl-C" in line:
                    break
            assert "Ctrl-C" in said, said
            assert re.search(rf"http://127\.0\.0\.1:{8888 + offset}", said), "every address is printed"
            yield process
        finally:
            process.kill()


def test_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    """The first SIGINT ends it, in order, with exit code 0."""
    offset = free_offset()
    with kept(tmp_path / "data", offset) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    check_free(plan(tmp_path, offset))


def test_children_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    """SIGKILL leaves it no time for anything; the lifeline does it."""
    offset = free_offset()
    with kept(tmp_path / "data", offset) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            try:
                check_free(plan(tmp_path, offset))
                return
            except AssertionError:
                time.sleep(0.2)
        check_free(plan(tmp_path, offset))


def child(parent: int, role: str) -> int:
    """The process of a role."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")  # a child is of the thread that started it
    for line in " ".join(task.read_text() for task in tasks).split():
        words = Path(f"/proc/{line}/cmdline").read_bytes().split(b"\0")
        if b"druid" in words and words[words.index(b"druid") + 1] == role.encode():
            return int(line)
    raise AssertionError(f"no process of {role}")


def test_a_role_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """One line says so, the others go on, and Ctrl-C still ends all of it."""
    offset = free_offset()
    with kept(tmp_path / "data", offset) as process:
        killed = child(process.pid, "broker")
        os.kill(killed, signal.SIGKILL)
        assert process.stdout is not None
        assert "broker was ended by signal 9; it starts again in 1 s" in process.stdout.readline()
        with socket.socket() as asking:
            deadline = time.monotonic() + GONE_S
            while asking.connect_ex(("127.0.0.1", 8082 + offset)) != 0:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert child(process.pid, "broker") != killed
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    check_free(plan(tmp_path, offset))
