"""Local input comes from the directories that are allowed, wherever names and links point."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from segment_files import task

from druidroles.segments.build import build_segments
from druidroles.segments.errors import InputError
from druidroles.segments.inputs import parse_input_source
from druidroles.segments.spec import parse_spec

ROWS = "timestamp,a\n2013-01-01,x\n"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """`input` is allowed, `secret` is not, and links lead from the one to the other."""
    for name in ("input", "input/below", "secret", "input-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text(ROWS)
    (tmp_path / "alias").symlink_to(tmp_path / "input")
    (tmp_path / "input" / "below" / "inside.csv").symlink_to(tmp_path / "input" / "rows.csv")
    (tmp_path / "out").mkdir()
    return tmp_path


def source(**more: Any) -> Any:
    return parse_input_source({"type": "local", **more})


GOOD: dict[str, Callable[[Path], Any]] = {
    "a directory": lambda at: source(baseDir=str(at / "input"), filter="*.csv"),
    "one below": lambda at: source(baseDir=str(at / "input" / "below"), filter="*.csv"),
    "a file": lambda at: source(files=[str(at / "input" / "rows.csv")]),
    "a way there and back": lambda at: source(files=[str(at / "secret" / ".." / "input" / "rows.csv")]),
    "a link to the directory": lambda at: source(baseDir=str(at / "alias"), filter="*.csv"),
    "a link inside": lambda at: source(files=[str(at / "input" / "below" / "inside.csv")]),
}
BAD: dict[str, Callable[[Path], Any]] = {
    "another directory": lambda at: source(baseDir=str(at / "secret"), filter="*.csv"),
    "a file elsewhere": lambda at: source(files=[str(at / "secret" / "rows.csv")]),
    "one good file and one elsewhere": lambda at: source(
        files=[str(at / "input" / "rows.csv"), str(at / "secret" / "rows.csv")]
    ),
    "a way out": lambda at: source(files=[str(at / "input" / ".." / "secret" / "rows.csv")]),
    "a neighbour with the same beginning": lambda at: source(baseDir=str(at / "input-2")),
    "what is above": lambda at: source(baseDir=str(at)),
    "a file that is not there": lambda at: source(files=[str(at / "secret" / "missing")]),
    "a system file": lambda at: source(files=["/etc/passwd"]),
    "a name of no file": lambda at: source(files=[f"{at}/input/\0"]),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_lies_within_is_found_by_its_real_name(places: Path, name: str) -> None:
    found = GOOD[name](places).files(places / "out", [places / "input"])
    assert found
    assert all(path == path.resolve() and path.is_relative_to(places / "input") for path in found)


@pytest.mark.parametrize("name", BAD)
def test_what_lies_elsewhere_is_refused_by_name(places: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        BAD[name](places).files(places / "out", [places / "input"])
    if "no file" not in name or "not there" in name:
        assert "--input-dir" in str(caught.value)
    assert "inputSource." in str(caught.value)


@pytest.mark.parametrize("target", ["secret", "secret/rows.csv", "loop"])
def test_a_link_out_of_the_directory_is_refused(places: Path, target: str) -> None:
    (places / "loop").symlink_to(places / "loop")
    link = places / "input" / "link.csv"
    link.symlink_to(places / target)
    for one in (source(files=[str(link)]), source(baseDir=str(link))):
        with pytest.raises(InputError):
            one.files(places / "out", [places / "input"])


def test_a_linked_file_that_a_pattern_finds_is_refused_too(places: Path) -> None:
    (places / "input" / "link.csv").symlink_to(places / "secret" / "rows.csv")
    with pytest.raises(InputError, match="--input-dir"):
        source(baseDir=str(places / "input"), filter="*.csv").files(places / "out", [places / "input"])


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_allowed_by_default(places: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\(none\)"):
        GOOD[name](places).files(places / "out", ())


def test_a_build_reads_its_input_alone(places: Path) -> None:
    spec = task("", ioConfig__inputSource={"type": "local", "files": [str(places / "secret" / "rows.csv")]})
    with pytest.raises(InputError, match="--input-dir"):
        build_segments(parse_spec(spec), places / "out", input_dirs=[places / "input"])
    assert os.listdir(places / "out") == []
