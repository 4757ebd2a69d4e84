"""What a name may hold, in one place: every character, and every place where a name is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordserver.core.model.paths import is_valid, is_valid_name
from druidroles.model.decode import ModelError
from druidroles.model.names import NAME_CHARS_MAX, check_name, name_fault
from druidroles.model.task import task_id
from druidroles.overlord.planning.submission import complete_task
from druidroles.overlord.planning.worker_config import WorkerConfig
from druidroles.rules.rules import check_rules
from druidroles.segments.errors import SpecError
from druidroles.segments.spec import parse_spec

REFUSED = [chr(code) for code in range(0x110000) if not is_valid_name(f"a{chr(code)}")]


def test_a_name_is_what_a_path_can_hold_whatever_the_character() -> None:
    wrong = [
        code
        for code in range(0x110000)
        if (name_fault(f"a{chr(code)}") is None) is not is_valid(f"/druid/indexer/tasks/h:1/a{chr(code)}")
        and chr(code) != "/"
    ]
    assert wrong == []
    assert name_fault("a/b") == "has a slash"


def test_names_of_ordinary_people_are_names() -> None:
    for name in (
        "wiki",
        "mein Datensatz",
        "Überblick",
        "データ",
        "a.b",
        "2013-01-01T00:00:00.000Z",
        "h:8083",
        "a\u00adb",
    ):
        assert check_name(name, "x") == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "x is empty"),
        ("   ", "x is empty"),
        (".", "begins with a dot"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a/b", "has a slash"),
        ("task 😀", "has the character U\\+1F600 at position 5"),
        ("a\ufffd", "has the character U\\+FFFD at position 1"),
        ("a\x00", "has the character U\\+0000 at position 1"),
        ("\ud800", "has the character U\\+D800 at position 0"),
        ("a" * (NAME_CHARS_MAX + 1), "is longer than 255 characters"),
    ],
)
def test_the_fault_names_field_character_and_position(name: str, fault: str) -> None:
    with pytest.raises(ModelError, match=f"^x .*{fault}|^{fault}") as caught:
        check_name(name, "x")
    str(caught.value).encode()


def _ingestion(**schema: Any) -> dict[str, Any]:
    return {
        "type": "index_parallel",
        "spec": {
            "dataSchema": {"dataSource": "wiki", "timestampSpec": {"column": "t"}, **schema},
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "inline", "data": "t,x\n"},
                "inputFormat": {"type": "csv", "findColumnsFromHeader": True},
            },
        },
    }


def _submit(task: dict[str, Any]) -> object:
    return complete_task(task, "abcdefgh", 0)


def _affinity(data_source: str, host: str) -> object:
    affinity = {"affinity": {data_source: [host]}}
    return WorkerConfig.parse_new({"selectStrategy": {"type": "equalDistribution", "affinityConfig": affinity}})


def _category(data_source: str) -> object:
    spec = {"categoryMap": {"noop": {"categoryAffinity": {data_source: "c"}}}}
    strategy = {"type": "equalDistributionWithCategorySpec", "workerCategorySpec": spec}
    return WorkerConfig.parse_new({"selectStrategy": strategy})


PLACES: dict[str, Callable[[str], object]] = {
    "id of a stored or assigned task": lambda name: task_id({"id": name}),
    "id of a task": lambda name: _submit({"type": "noop", "id": name}),
    "groupId": lambda name: _submit({"type": "noop", "groupId": name}),
    "dataSource of noop": lambda name: _submit({"type": "noop", "dataSource": name}),
    "dataSource of kill": lambda name: _submit({"type": "kill", "dataSource": name, "interval": "2013/2014"}),
    "dataSource of compact": lambda name: _submit({"type": "compact", "dataSource": name, "interval": "2013/2014"}),
    "dataSource of index_parallel": lambda name: _submit(_ingestion(dataSource=name)),
    "dataSource of a spec that runs": lambda name: parse_spec(_ingestion(dataSource=name)),
    "supervisorTaskId": lambda name: _submit(
        {**_ingestion(), "type": "single_phase_sub_task", "supervisorTaskId": name}
    ),
    "tier of a load rule": lambda name: check_rules([{"type": "loadForever", "tieredReplicants": {name: 1}}]),
    "datasource of an affinity": lambda name: _affinity(name, "h:1"),
    "worker of an affinity": lambda name: _affinity("wiki", name),
    "datasource of a category": _category,
}


@pytest.mark.parametrize("place", PLACES)
def test_no_place_takes_a_name_that_no_path_can_hold(place: str) -> None:
    """Every refused character below U+10000, the edges of what is above, and the names of steps."""
    taken = []
    names = [f"a{ch}b" for ch in REFUSED if ord(ch) < 0x10000][:: 1 if "id of a stored" in place else 97]
    names += [f"a{ch}b" for ch in ("\x00", "\n", "\x7f", "\x9f", "\ud800", "\udfff", "\uf8ff", "\ufff0", "\ufffd")]
    for name in (*names, "a\U00010000", "a😀", "a\U0010ffff", ".", "..", "a/b", "x" * 256):
        try:
            PLACES[place](name)
        except (ModelError, SpecError) as fault:
            str(fault).encode()
        else:
            taken.append(name)
    assert taken == []
    PLACES[place]("Überblick 1")
