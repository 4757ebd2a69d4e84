"""What may be marked unused: only what segments that are really served cover."""

from __future__ import annotations

import pytest

from druidroles.coordinator.cluster.copies import Cluster, Server
from druidroles.coordinator.cluster.departures import Departures, DepartureSettings
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.coordinator.planning.overshadowing import is_overshadowed_by_served
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.rules.rules import Rules

DAY_MS = 86_400_000


def segment(version: str, part: int = 0, of: int = 1) -> DataSegment:
    return DataSegment("wiki", Interval(0, DAY_MS), version, shard_spec=numbered(part, of), size=10)


def marked(*used: DataSegment, served: tuple[DataSegment, ...], replicas: int = 2) -> set[str]:
    rule = {"type": "loadForever", "tieredReplicants": {"_default_tier": replicas}}
    view = PlanningState(
        cluster=Cluster(),
        used=UsedSegments(),
        rules=Rules({"_default": [rule]}),
        failures=FailureMemory(),
        damping=Departures(DepartureSettings()),
        timers=Timers(),
    )
    server = view.cluster.add_server(Server("h", "_default_tier", max_size=1_000))
    for each in served:
        view.cluster.add_served(server, each, 0)
    view.used.replace(used, 0)
    return {s.id for s in view.used.overshadowed() if is_overshadowed_by_served(view, s, 0)}


V1, V2, V3 = segment("v1"), segment("v2"), segment("v3")


@pytest.mark.parametrize("old_is_served", [True, False])
def test_what_a_served_segment_covers_is_marked_served_or_not(old_is_served: bool) -> None:
    assert marked(V1, V2, served=(V1, V2) if old_is_served else (V2,)) == {V1.id}


def test_what_only_an_unserved_segment_covers_is_kept() -> None:
    assert marked(V1, V2, served=(V1,)) == set()


def test_an_unserved_segment_that_is_overshadowed_itself_overshadows_nothing() -> None:
    assert marked(V1, V2, V3, served=(V1,)) == set()
    assert marked(V1, V2, V3, served=(V1, V3)) == {V1.id, V2.id}


def test_a_newer_version_of_which_a_part_is_not_served_covers_nothing() -> None:
    parts = [segment("v2", part, 2) for part in range(2)]
    assert marked(V1, *parts, served=(V1, parts[0])) == set()
    assert marked(V1, *parts, served=(V1, *parts)) == {V1.id}


def test_what_is_kept_in_deep_storage_only_counts_as_served() -> None:
    assert marked(V1, V2, served=(), replicas=0) == {V1.id}
