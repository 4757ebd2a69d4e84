"""The directory of a task: what is left of an earlier attempt, who works there, and what is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from druidroles.middlemanager import task_dir
from druidroles.middlemanager.task_dir import Result, TaskDirectory, TaskDirectoryHeldError, prune
from druidroles.model.task import TaskState


def test_a_new_attempt_finds_nothing_of_the_earlier_one_but_the_log(tmp_path: Path) -> None:
    """A result left there would be taken for its own."""
    directory = TaskDirectory(tmp_path / "t1")
    directory.prepare({"id": "t1", "coord": {"attempt": 1}})
    directory.log.write_text("first\n")
    (directory.work / "part").touch()
    directory.write_report({})
    directory.write_result(Result(TaskState.FAILED, "no input"))
    assert directory.result() == Result(TaskState.FAILED, "no input")
    directory.prepare({"id": "t1", "coord": {"attempt": 2}})
    assert directory.task()["coord"] == {"attempt": 2}
    assert directory.result() is None
    assert not directory.report.exists()
    assert list(directory.work.iterdir()) == []
    assert directory.log.read_text() == "first\n"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_result_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    """A task is never taken for done because of garbage."""
    directory = TaskDirectory(tmp_path)
    (tmp_path / "result.json").write_text(text)
    assert directory.result() is None


def test_one_process_works_there(tmp_path: Path) -> None:
    """The lock goes with its holder."""
    directory = TaskDirectory(tmp_path)
    with directory.held():
        with pytest.raises(TaskDirectoryHeldError):
            directory.held().__enter__()
        assert not directory.wait_free(0)
    assert directory.wait_free(0)
    assert TaskDirectory(tmp_path / "nobody").wait_free(0)


def test_the_oldest_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But never that of a running task."""
    monkeypatch.setattr(task_dir, "KEPT_TASKS", 2)
    for age, name in enumerate(["newest", "newer", "old", "running", "oldest"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (10_000 - age, 10_000 - age))
    prune(tmp_path, ["running"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newer", "newest", "running"]
