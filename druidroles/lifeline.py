"""A process that ends when its parent does, however the parent ends.

The parent keeps the write end of a pipe and never writes; the child inherits the read end, whose number is in
`COORD_LIFELINE_FD`. When the parent goes, even by SIGKILL, the kernel closes the write end and the child reads end of
file. A thread reads, because the event loop may be the very thing that hangs. The child first gets SIGTERM, as from an
operator; if it is still there after the grace it is ended without one.
"""

from __future__ import annotations

import os
import signal
import threading
import time

ENVIRONMENT_KEY = "COORD_LIFELINE_FD"
GRACE_S = 9.0  # a role promises to end within 10 s of SIGTERM


def _follow(fd: int) -> None:
    try:
        while os.read(fd, 64):
            pass
    except OSError:
        pass  # a broken lifeline is a parent that is gone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(70)


def follow_parent() -> None:
    """Start following the parent if it left a lifeline, otherwise do nothing. Call it once, first in the process."""
    value = os.environ.pop(ENVIRONMENT_KEY, "")
    if value.isdigit():
        threading.Thread(target=_follow, args=(int(value),), name="lifeline", daemon=True).start()


class Lifeline:
    """The parent's side: one pipe shared by all its children.

    `read_fd` goes into `pass_fds` of the child, `environment` into its environment. Closing ends the children.
    """

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    @property
    def environment(self) -> dict[str, str]:
        """What to add to a child's environment."""
        return {ENVIRONMENT_KEY: str(self.read_fd)}

    def close(self) -> None:
        """Let go: children that still run get SIGTERM."""
        os.close(self._write_fd)
        os.close(self.read_fd)
