"""The error of a measurement that the operator can correct."""

from __future__ import annotations


class BenchError(Exception):
    """The measurement failed. The message is one line."""
