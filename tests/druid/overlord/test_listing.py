"""Tasks as the API shows them, and which of them a listing takes."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from druidroles.metadata import TaskRow
from druidroles.model.decode import ModelError
from druidroles.model.task import TaskLocation, TaskStatus
from druidroles.overlord.api.listing import Listed, TaskFilter

ROW = TaskRow(
    id="t1",
    data_source="flights",
    type="noop",
    group_id="g1",
    created_date="2024-01-02T00:00:00.000Z",
    payload={"id": "t1", "type": "noop"},
    status=TaskStatus.running("t1").to_json(),
)
RUNS = Listed(ROW, TaskStatus.running("t1", TaskLocation("h", 8100)))
ENDED = Listed(attrs.evolve(ROW, active=False, status=TaskStatus.failure("t1", "no input", 5).to_json()))


def filtered(**parameters: str) -> TaskFilter:
    return TaskFilter.parse(parameters.get)


def test_a_running_task_has_the_location_that_its_worker_says() -> None:
    """And the fields that Druid's clients expect, whether or not they say anything."""
    assert RUNS.to_json() == {
        "id": "t1",
        "groupId": "g1",
        "type": "noop",
        "createdTime": "2024-01-02T00:00:00.000Z",
        "queueInsertionTime": "1970-01-01T00:00:00.000Z",
        "statusCode": "RUNNING",
        "status": "RUNNING",
        "runnerStatusCode": "RUNNING",
        "duration": -1,
        "location": {"host": "h", "port": 8100, "tlsPort": -1},
        "dataSource": "flights",
        "errorMsg": None,
    }
    assert Listed(ROW).to_json()["runnerStatusCode"] == "PENDING"


def test_a_task_is_running_until_its_end_is_recorded() -> None:
    """The worker may have said more already."""
    said = Listed(ROW, TaskStatus.success("t1", 9, TaskLocation("h", 8100)))
    assert (said.state, said.to_json()["statusCode"]) == ("running", "RUNNING")


def test_an_ended_task_is_as_it_was_stored() -> None:
    """The runner knows it no more: NONE in listings, WAITING in its status, as Druid answers."""
    shown = ENDED.to_json()
    assert (shown["statusCode"], shown["duration"], shown["errorMsg"]) == ("FAILED", 5, "no input")
    assert (shown["runnerStatusCode"], ENDED.to_json("WAITING")["runnerStatusCode"]) == ("NONE", "WAITING")
    broken = Listed(attrs.evolve(ENDED.row, status={"id": "t1"}))
    assert "malformed" in broken.to_json()["errorMsg"]


@pytest.mark.parametrize(
    ("parameters", "runs", "ended"),
    [
        ({}, True, True),
        ({"state": "running"}, True, False),
        ({"state": "complete"}, False, True),
        ({"datasource": "other"}, False, False),
        ({"type": "noop"}, True, True),
        ({"createdTimeInterval": "2024-01-02_2024-01-03"}, True, True),
        ({"createdTimeInterval": "2024-01-03/P1D"}, True, False),
    ],
)
def test_a_filter_takes_what_was_asked_for(parameters: dict[str, str], runs: bool, ended: bool) -> None:
    """Each parameter narrows."""
    wanted = filtered(**parameters)
    assert (wanted.takes(RUNS), wanted.takes(ENDED)) == (runs, ended)


@pytest.mark.parametrize("parameters", [{"state": "odd"}, {"max": "-1"}, {"createdTimeInterval": "2024"}])
def test_a_bad_parameter_is_refused(parameters: dict[str, Any]) -> None:
    """Not taken for no filter at all."""
    with pytest.raises(ModelError):
        filtered(**parameters)
