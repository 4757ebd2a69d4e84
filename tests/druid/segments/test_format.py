"""Segment files: what is none, or of another format, is refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from segment_files import build, task

from druidroles.segments import format as segment_format
from druidroles.segments.errors import SegmentFileError
from druidroles.segments.format import check_segment_file


def parquet(path: Path, select: str, options: str = "") -> Path:
    """A Parquet file that we did not make."""
    duckdb.sql(f"COPY ({select}) TO '{path}' (FORMAT parquet{options})")
    return path


def test_a_segment_passes_with_its_rows(tmp_path: Path) -> None:
    """What was built is a segment, wherever it lies: names of directories are no patterns."""
    (built,) = build(task("time,a\n1,x\n2,y\n"), tmp_path / "work").segments
    odd, other = tmp_path / "a[1]*?=b", tmp_path / "a1xx=b"
    odd.mkdir()
    other.mkdir()
    parquet(other / "0.parquet", "SELECT 1::BIGINT AS __time")  # what the name would fit, were it a pattern
    target = built.path.rename(odd / "0.parquet")
    assert check_segment_file(target) == 2


def test_faults_are_told_apart(tmp_path: Path) -> None:
    """Missing, no Parquet, someone else's Parquet, a newer format, no time, cut short."""
    (tmp_path / "text").write_text("time,a\n")
    (tmp_path / "empty").write_bytes(b"")
    key = "druidroles.segment.format"
    cut = parquet(tmp_path / "whole", "SELECT 1::BIGINT AS __time", f", KV_METADATA {{'{key}': '1'}}").read_bytes()
    (tmp_path / "cut").write_bytes(cut[:-20])
    newer = parquet(tmp_path / "newer", "SELECT 1::BIGINT AS __time", f", KV_METADATA {{'{key}': '2'}}")
    for path, told in (
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "text", "not a Parquet file"),
        (tmp_path / "empty", "not a Parquet file"),
        (tmp_path / "cut", "damaged"),
        (parquet(tmp_path / "foreign", "SELECT 1::BIGINT AS __time"), "not a segment"),
        (newer, "has segment format 2; this version reads 1"),
        (parquet(tmp_path / "untimed", "SELECT 1 AS a", f", KV_METADATA {{'{key}': '1'}}"), "no column __time"),
    ):
        with pytest.raises(SegmentFileError) as caught:
            check_segment_file(path)
        assert told in str(caught.value)
        assert str(path) in str(caught.value)
    assert check_segment_file(tmp_path / "whole") == 1


def test_a_later_version_is_what_would_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of today is refused by a version that reads another format, and the other way round."""
    (built,) = build(task("time,a\n1,x\n"), tmp_path / "work").segments
    monkeypatch.setattr(segment_format, "FORMAT_VERSION", 2)
    with pytest.raises(SegmentFileError, match="has segment format 1"):
        check_segment_file(built.path)
