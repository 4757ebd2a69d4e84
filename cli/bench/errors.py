"""What can go wrong with a measurement that the operator can do something about."""

from __future__ import annotations


class BenchError(Exception):
    """Nothing could be measured; the message is one line."""
