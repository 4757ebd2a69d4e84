"""The dynamic configuration: Druid's keys and defaults, what is refused, and what it limits."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.coordinator.dynamic_config import DynamicConfig, read_stored
from druidroles.model.decode import ModelError


def test_defaults_are_druids() -> None:
    assert read_stored(None).to_json() == {
        "millisToWaitBeforeDeleting": 900_000,
        "maxSegmentsToMove": 100,
        "replicantLifetime": 15,
        "replicationThrottleLimit": 500,
        "balancerComputeThreads": 1,
        "killDataSourceWhitelist": [],
        "killTaskSlotRatio": 0.1,
        "maxKillTaskSlots": 2**31 - 1,
        "maxSegmentsInNodeLoadingQueue": 500,
        "decommissioningNodes": [],
        "pauseCoordination": False,
        "replicateAfterLoadTimeout": False,
        "useRoundRobinSegmentAssignment": True,
        "smartSegmentLoading": True,
    }


def test_what_is_left_out_stays_and_json_goes_to_and_fro() -> None:
    one = DynamicConfig.parse({"maxSegmentsToMove": 7, "decommissioningNodes": "b:1, a:1"})
    two = DynamicConfig.parse({"pauseCoordination": True, "maxSegmentsToMove": None}, one)
    assert two.max_segments_to_move == 7
    assert two.decommissioning_nodes == ("a:1", "b:1")
    assert two.pause_coordination
    assert DynamicConfig.parse(two.to_json()) == two


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("maxSegmentsToMove", "seven"),
        ("maxSegmentsToMove", -1),
        ("maxSegmentsToMove", True),
        ("balancerComputeThreads", 0),
        ("killTaskSlotRatio", 1.5),
        ("decommissioningNodes", ["a", 1]),
        ("pauseCoordination", "yes"),
        ("maxSegmentToMove", 7),
        ("turboLoadingNodes", ["a:1"]),
    ],
)
def test_what_is_refused_is_named(key: str, value: Any) -> None:
    with pytest.raises(ModelError, match=key):
        DynamicConfig.parse({key: value})


def test_keys_of_other_releases_are_forgotten_and_empty_ones_that_ask_for_nothing_accepted() -> None:
    assert DynamicConfig.parse({"mergeBytesLimit": 1, "cloneServers": {}, "turboLoadingNodes": []}) == DynamicConfig()


def test_smart_loading_decides_by_the_size_of_the_cluster() -> None:
    config = DynamicConfig.parse(
        {"replicationThrottleLimit": 3, "maxSegmentsToMove": 4, "replicateAfterLoadTimeout": True}
    )
    small, large = config.limits(10, 1), config.limits(100_000, 1)
    assert (small.replicas_in_flight, small.moves_in_flight, small.queue_length) == (100, 100, 0)
    assert (large.replicas_in_flight, large.moves_in_flight) == (5_000, 1_000)
    assert large.replicate_late
    plain = DynamicConfig.parse({"smartSegmentLoading": False, "useRoundRobinSegmentAssignment": False}, config)
    limits = plain.limits(100_000, 1)
    assert (limits.replicas_in_flight, limits.moves_in_flight, limits.queue_length) == (3, 4, 500)
    assert config.round_robin
    assert not plain.round_robin
