"""Segment files for tests: an ingestion task as JSON, and what it builds as pieces that a query can read."""

from __future__ import annotations

import copy
import json
from importlib import resources
from pathlib import Path
from typing import Any

from druidroles.query.relation import Piece
from druidroles.query.source import ServedSegment
from druidroles.segments.build import BuildResult, build_segments
from druidroles.segments.spec import parse_spec

VERSION = "2026-01-01T00:00:00.000Z"


def task(data: str, *, dimensions: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    """An ingestion task over CSV text with a header and a column `time`. A change is named by its path, with `__`
    between the steps: `dataSchema__metricsSpec=[...]`.
    """
    spec: dict[str, Any] = {
        "dataSchema": {
            "dataSource": "wiki",
            "timestampSpec": {"column": "time", "format": "auto"},
            "dimensionsSpec": {"dimensions": dimensions or []},
            "granularitySpec": {"segmentGranularity": "DAY", "queryGranularity": "none", "rollup": False},
        },
        "ioConfig": {
            "inputSource": {"type": "inline", "data": data},
            "inputFormat": {"type": "csv", "findColumnsFromHeader": True},
        },
    }
    return changed({"type": "index_parallel", "spec": spec}, **{f"spec__{path}": new for path, new in changes.items()})


def changed(obj: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with other values at some paths; ... takes a key out."""
    result = copy.deepcopy(obj)
    for path, new in changes.items():
        *steps, last = path.split("__")
        at = result
        for step in steps:
            at = at.setdefault(step, {})
        if new is ...:
            at.pop(last)
        else:
            at[last] = new
    return result


def shipped_task() -> dict[str, Any]:
    """The ingestion task that ships with the package, reading the file that does."""
    data = resources.files("cli").joinpath("data")
    shipped: dict[str, Any] = json.loads(data.joinpath("flights-index.json").read_text("utf-8"))
    return changed(shipped, spec__ioConfig__inputSource__baseDir=str(data))


def build(obj: dict[str, Any], work_dir: Path) -> BuildResult:
    """What the task builds, in a directory that is made for it."""
    work_dir.mkdir()
    return build_segments(parse_spec(obj), work_dir)


def pieces(result: BuildResult, version: str = VERSION) -> list[Piece]:
    """The segments as whole pieces."""
    segments = [(built.segment(version), built.path) for built in result.segments]
    return [Piece(segment.descriptor, ServedSegment(segment, path)) for segment, path in segments]
