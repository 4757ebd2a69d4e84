"""How the benchmark and its processes speak: words on standard input, lines of JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def say(**fields: Any) -> None:
    """One line to the benchmark."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def wait_for_word() -> str:
    """The next word from the benchmark; empty when it has gone."""
    return sys.stdin.readline().strip()
