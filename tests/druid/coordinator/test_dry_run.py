"""A dry run: the plan is told, and nothing at all is written."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from click.testing import CliRunner
from fake_historicals import fake_historical

from cli.commands.druid import command
from coordserver.client import connect
from druidroles.coordinator.dry_run import dry_run, rows
from druidroles.coordinator.settings import TermSettings
from druidroles.metadata import Audit, LeaderEpoch
from druidroles.model.segment import DataSegment

Days = Callable[..., list[DataSegment]]
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
TWENTY = LeaderEpoch(role="coordinator", epoch=20)


async def _tree(zk: Any, path: str = "/") -> dict[str, Any]:
    found = {path: await zk.get(path)}
    for name in await zk.children(path):
        found |= await _tree(zk, path.rstrip("/") + "/" + name)
    return found


async def test_the_plan_is_told_and_nothing_is_written(house: Any, days: Days) -> None:
    segments = days(range(4))
    old, (newer,) = segments[0], days([0], "2024-02-01T00:00:00.000Z")
    (orphan,) = days([9])
    await house.publish(*segments)
    await house.publish(newer)
    await house.store.raise_epoch(TWENTY)
    await house.store.set_config(TWENTY, "coordinator.config", {"decommissioningNodes": ["h2:8083"]}, Audit())
    async with (
        fake_historical(house.address, "h1:8083", newer, orphan, obey=False),
        fake_historical(house.address, "h2:8083", newer, segments[1], obey=False),
        fake_historical(house.address, "h3:8083", obey=False),
        connect(house.address, session_timeout=4) as zk,
    ):
        before = await _tree(zk)
        plan = list(rows(await dry_run(zk, house.paths, house.store, TermSettings())))
        after = await _tree(zk)
    assert after == before
    assert await house.store.epochs() == {"coordinator": 20, "overlord": 1}
    told = {(row["action"], row["segment"]) for row in plan}
    assert {("load", segments[2].id), ("replicate", segments[2].id), ("load", segments[3].id)} <= told
    assert ("drop", orphan.id) in told
    assert ("mark unused", old.id) in told
    assert [row["why"] for row in plan if row["action"] == "move"] == ["from h2:8083"]
    assert "h2:8083" not in {row["server"] for row in plan if row["action"] in ("load", "replicate", "move")}


async def test_what_a_leader_has_ordered_already_is_not_planned_again(house: Any, days: Days, until: Until) -> None:
    await house.publish(*days(range(3)))
    async with (
        fake_historical(house.address, "h1:8083", obey=False) as server,
        fake_historical(house.address, "h2:8083", obey=False),
        house.coordinator() as coordinator,
    ):

        async def ordered() -> bool:
            return len(await server.zk.children(house.paths.load_queue_of(server.name))) == 3

        await until(ordered)
        assert await dry_run(coordinator.zk, house.paths, house.store, TermSettings()) == []


async def test_on_the_command_line(house: Any, days: Days) -> None:
    await house.publish(*days(range(2)))
    common = ["coordinator", "--dry-run", "--coord", f"coord://{house.address}/druid", "--metadata"]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command, [*common, *arguments])

    async with fake_historical(house.address, "h1:8083", obey=False):
        result = await trio.to_thread.run_sync(run, str(house.metadata), "-o", "json")
        assert result.exit_code == 0, result.output
        plan = [json.loads(line) for line in result.output.splitlines()]
        assert [(row["action"], row["server"]) for row in plan] == [("load", "h1:8083")] * 2
        missing = await trio.to_thread.run_sync(run, str(house.metadata.with_name("none.sqlite")))
        assert missing.exit_code == 1
        assert "there is no metadata store" in missing.output
        assert not house.metadata.with_name("none.sqlite").exists()
