"""Settings for all tests.

- Hypothesis draws the same examples in each run, unless `HYPOTHESIS_PROFILE=random` is set.
- The reason of each retried failure is printed at the end of the run.
- Log segments are small. Each test server writes only a few KiB, but segments are preallocated: with the default size
  one run wrote 30 GB.
- SIGINT is not ignored. A shell ignores it for background jobs, and the processes that tests start inherit that.
- Logging is restored after each test, because commands that run in this process configure it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("random", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

os.environ.setdefault("COORD_SERVER_SEGMENT_BYTES", str(1024 * 1024))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests were tried again; with workers, each of them has sent its reports here."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("-", f"tried again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Restore the handlers of the root logger and the levels that commands change."""
    root, server = logging.getLogger(), logging.getLogger("coordserver")
    handlers, levels = root.handlers[:], (root.level, server.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    server.setLevel(levels[1])
