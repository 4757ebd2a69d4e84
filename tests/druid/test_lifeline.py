"""A child ends when its parent does, also when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CHILD = """
import signal, sys, time
from druidroles.lifeline import follow_parent
def leave(*_):
    print("child: told to end", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
follow_parent()
print("child: up", flush=True)
time.sleep(60)
"""

PARENT = f"""
import os, subprocess, sys, time
from druidroles.lifeline import Lifeline
line = Lifeline()
subprocess.Popen([sys.executable, "-c", {CHILD!r}], pass_fds=[line.read_fd], env={{**os.environ, **line.environment}})
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(number: int) -> None:
    """The kernel closes the pipe whatever ended the parent; the child gets SIGTERM and may clean up."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"child: up\n"
        os.kill(parent.pid, number)
        assert parent.stdout.readline() == b"child: told to end\n"
        assert parent.stdout.read() == b""  # nobody holds the pipe any more: the child is gone


def test_without_a_lifeline_nothing_is_followed() -> None:
    """A process started by hand does not end with its shell's pipes."""
    code = "import threading, druidroles.lifeline as l; l.follow_parent(); print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "1\n"
