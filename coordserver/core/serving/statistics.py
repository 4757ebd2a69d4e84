"""Counters of the engine, as status and metrics show them."""

from __future__ import annotations

import attrs


@attrs.frozen
class EngineStatistics:
    """Counters of the engine, at one instant."""

    sessions: int
    attached: int
    outstanding: int
    proposals: int
    watches: int
    watched_paths: int
    expired: int
    expiries_failed: int
    refused: int
    read_errors: int
