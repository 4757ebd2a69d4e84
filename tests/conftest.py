"""Under every test: hypothesis draws the same examples in each run, unless `HYPOTHESIS_PROFILE=random` is asked.

What failed and passed when it was tried again is told at the end with its reason: nothing else would keep it.

And log segments are small: a server of the tests' own writes a few KiB, and there are hundreds of them. With segments
of the default size, which are preallocated, one run wrote 30 GB.

And Ctrl-C is not ignored, as it is in what a shell's script puts into the background: processes that tests start, and
send one, would inherit that.
"""

from __future__ import annotations

import os
import signal

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
