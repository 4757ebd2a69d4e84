"""How much the long proofs do: little in CI, all of it where `COORD_LONG=1` (`make test-long`)."""

from __future__ import annotations

import os

LONG = os.environ.get("COORD_LONG") == "1"


def scaled(usual: int, long: int) -> int:
    """A number for either."""
    return long if LONG else usual
