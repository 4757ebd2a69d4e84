"""A metadata store that goes, comes back, or is empty beside a cluster that is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_historicals import fake_historical

from coordserver.client import connect
from druidroles.model.segment import DataSegment

ROOT = "/druid/coordinator/v1"
Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def take_away(house: Any) -> None:
    """The file and what SQLite keeps beside it."""
    for name in ("metadata.sqlite", "metadata.sqlite-wal", "metadata.sqlite-shm"):
        (house.metadata.parent / name).unlink(missing_ok=True)


@pytest.fixture
def leads(until: Until) -> Callable[[Any], Awaitable[None]]:
    """Waits until a Coordinator leads and is ready."""

    async def wait(coordinator: Any) -> None:
        async def check() -> bool:
            return coordinator.role.leading is not None and coordinator.role.leading.ready

        await until(check)

    return wait


@pytest.fixture
def said(until: Until, caplog: pytest.LogCaptureFixture) -> Callable[[str], Awaitable[None]]:
    """Waits until the log has some words."""

    async def wait(words: str) -> None:
        async def check() -> bool:
            return any(words in record.getMessage() for record in caplog.records)

        await until(check)

    return wait


async def test_a_leader_whose_store_was_removed_steps_down_and_leads_again_when_it_is_back(
    house: Any, days: Days, until: Until, leads: Any, said: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await house.publish(*days([0]))
    away = house.metadata.parent / "away"
    async with house.coordinator() as coordinator:
        await leads(coordinator)
        house.metadata.rename(away)

        async def stepped_down() -> bool:
            return coordinator.role.leading is None

        await until(stepped_down)
        await said("giving up the lead: metadata store")
        answer = await coordinator.http.post(f"{ROOT}/rules/wiki", json=[])
        assert answer.status_code in (503, 307)
        assert not house.metadata.exists()
        away.rename(house.metadata)
        await leads(coordinator)
        assert await coordinator.get("/metadata/datasources") == ["wiki"]
        lost = [r for r in caplog.records if "is gone" in r.getMessage() and r.levelname == "ERROR"]
        assert 1 <= len(lost) <= 2  # once for the term that ended, not at every try


async def test_nobody_leads_on_an_empty_store_beside_a_tree_that_knows_of_a_publication(
    house: Any, days: Days, leads: Any, said: Any
) -> None:
    """All that Historicals hold was dropped, and Brokers answered from nothing."""
    (segment,) = days([0])
    await house.publish(segment)
    async with fake_historical(house.address, "h1:8083", segment) as historical:
        async with house.coordinator() as coordinator:
            await leads(coordinator)
            await coordinator.role.leading.tell_changed()
        take_away(house)
        async with house.coordinator() as coordinator:
            await said("the metadata store is empty, but /druid/coord/published tells of a publication in epoch")
            await said("restore the metadata store, or start with --accept-empty-metadata")
            assert coordinator.role.leading is None
            assert segment.id in historical.served
        async with house.coordinator(accept_empty=True) as coordinator:
            await leads(coordinator)
        async with house.coordinator() as coordinator:  # it was accepted once: there is a store now
            await leads(coordinator)


async def test_nobody_leads_on_an_empty_store_beside_announced_segments(
    house: Any, days: Days, leads: Any, said: Any
) -> None:
    (segment,) = days([0])
    async with fake_historical(house.address, "h1:8083", segment) as historical:
        async with house.coordinator() as coordinator:
            await said("/druid/segments/h1:8083 announces segments")
            assert coordinator.role.leading is None
        await house.publish(segment)
        async with house.coordinator() as coordinator:
            await leads(coordinator)
            assert segment.id in historical.served


async def test_a_new_cluster_is_led_at_once(house: Any, leads: Any) -> None:
    async with connect(house.address) as zk:
        assert await zk.exists(house.paths.coord_published) is None
    async with fake_historical(house.address, "h1:8083"), house.coordinator() as coordinator:
        await leads(coordinator)
