"""What `/metrics` shows of a Coordinator, under Druid's names."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fake_historicals import fake_historical

from druidroles.model.segment import DataSegment

Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def samples(text: str) -> dict[str, float]:
    """Name with labels to value."""
    return {name: float(value) for name, value in re.findall(r"^(druid_\S+) (\S+)$", text, re.M)}


async def test_what_is_wanting_ordered_done_and_failed_is_counted(house: Any, days: Days, until: Until) -> None:
    one, two, three = days(range(3))
    await house.publish(one, two, three)
    async with fake_historical(house.address, "h1:8083") as server, house.coordinator() as coordinator:
        server.broken[three.id] = "no such file"

        async def settled() -> bool:
            leading = coordinator.role.leading
            return (
                leading is not None
                and leading.ready
                and len(leading.view.failures) == 1
                and leading.view.wanting.unavailable == {"wiki": 1}
            )

        await until(settled)
        shown = samples(coordinator.role._context.metrics.render())
        of_wiki, of_h1 = '{dataSource="wiki"}', '{server="h1:8083"}'
        assert shown["druid_segment_unavailable_count" + of_wiki] == 1
        assert shown['druid_segment_underReplicated_count{dataSource="wiki",tier="_default_tier"}'] == 4
        assert shown["druid_segment_count" + of_wiki] == 3
        assert shown["druid_segment_size" + of_wiki] == 30
        assert shown["druid_segment_loadQueue_assigned" + of_h1] == 3
        assert shown["druid_segment_loadQueue_success" + of_h1] == 2
        assert shown["druid_segment_loadQueue_failed" + of_h1] == 1
        assert shown["druid_segment_loadQueue_count" + of_h1] == 0
        assert shown["druid_segment_assigned_count"] == 3
        assert shown['druid_tier_total_capacity{tier="_default_tier"}'] == 10_000
        assert shown["druid_leader_epoch"] == coordinator.role.leading.leader.epoch
        assert shown['druid_coordinator_time_count{duty="RunRules"}'] >= 1


async def test_a_stand_by_shows_no_gauges_of_a_cluster(house: Any, until: Until) -> None:
    async with house.coordinator(8081) as first:

        async def leads() -> bool:
            return first.role.leading is not None and first.role.leading.ready

        await until(leads)
        async with house.coordinator(8181) as second:
            shown = samples(second.role._context.metrics.render())
            assert not [name for name in shown if "unavailable" in name or "tier_" in name or "epoch" in name]
