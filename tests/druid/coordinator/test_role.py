"""A Coordinator from the first read to the load queues, in one loop with a real server and a real store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical

from druidroles.model.segment import DataSegment

Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
def loaded(until: Until) -> Callable[[Any, int], Awaitable[None]]:
    """Waits until nothing is missing."""

    async def wait(coordinator: Any, segments: int) -> None:
        async def check() -> bool:
            if coordinator.role.leading is None or not coordinator.role.leading.ready:
                return False
            full = await coordinator.get("/loadstatus?full")
            used = len(coordinator.role.leading.view.used)
            return used == segments and not any(n for tier in full.values() for n in tier.values())

        await until(check)

    return wait


async def test_published_segments_are_loaded_twice_each(house: Any, days: Days, loaded: Any) -> None:
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083") as two,
        house.coordinator() as coordinator,
    ):
        await loaded(coordinator, 0)
        await house.publish(*days(range(32)))
        await house.tell()
        await loaded(coordinator, 32)
        assert len(one.served) == len(two.served) == 32
        assert len(one.requests) == len(two.requests) == 32
        epoch = coordinator.role.leading.leader.epoch
        assert {request.coord.epoch for request in one.requests} == {epoch}
        assert await house.store.epochs() == {"coordinator": epoch, "overlord": 1}
        assert await coordinator.get("/loadstatus?simple") == {"wiki": 0}
