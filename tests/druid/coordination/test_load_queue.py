"""The Coordinator's load queues on a real server: requests together, their fence, taking over, taking back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from coordserver.client import (
    BadVersionError,
    Client,
    KeeperError,
    NoNodeError,
    NotEmptyError,
    Term,
    TransactionFailedError,
    connect,
)
from coordserver.core.model.errors import BadArgumentsError
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.load_queue import REFUSALS_MAX, LoadQueues, LoadQueueWriter, QueueEntry
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.model.change_request import Action, ChangeRequest, CoordMark
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment

DAY_MS = 86_400_000
SERVER = "h:8083"
PATHS = DruidPaths()


def segment(day: int) -> DataSegment:
    return DataSegment("wiki", Interval(day * DAY_MS, (day + 1) * DAY_MS), "v1", size=10)


def load(day: int, epoch: int) -> tuple[str, ChangeRequest]:
    return SERVER, ChangeRequest.load(segment(day), CoordMark(epoch))


def path(day: int) -> str:
    return PATHS.load_request(SERVER, segment(day).id)


@pytest.fixture
async def address(tmp_path: Path, scheme: str) -> AsyncIterator[str]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield f"{scheme}://{handle.address}"


@pytest.fixture
async def zk(address: str) -> AsyncIterator[Client]:
    async with connect(address, session_timeout=4) as client:
        for each in PATHS.layout():
            await client.ensure_path(each)
        yield client


async def leading(zk: Client) -> tuple[Term, LoadQueueWriter]:
    """A term, as the latch would give it."""
    made = await zk.create(f"{PATHS.coordinator_latch}/_c_x-latch-", ephemeral=True, sequence=True)
    term = Term(made.path, made.stat.czxid, 0)
    return term, LoadQueueWriter(zk, PATHS, term)


async def test_requests_are_written_a_hundred_in_a_transaction_as_ephemerals_with_the_epoch(zk: Client) -> None:
    term, writer = await leading(zk)
    async with LoadQueues(zk, PATHS) as queues:
        await queues.wait_synced()
        outcome = await writer.write([load(day, term.epoch) for day in range(150)])
        await queues.wait_current()
        assert len(outcome) == 150
        assert len(set(outcome.values())) == 2
        data, stat = await zk.get(path(7))
        assert stat.ephemeral_owner == zk.session_id
        assert loads(data)["coord"] == {"epoch": term.epoch, "attempt": 1}
        assert loads(data)["action"] == "load"
        entry = queues.entry(SERVER, segment(7).id)
        assert entry is not None
        assert outcome[SERVER, segment(7).id] == entry.czxid == stat.czxid
        assert not entry.started
        assert len(queues.deltas.take()) == 150


async def test_a_start_and_a_failure_are_seen(zk: Client) -> None:
    term, writer = await leading(zk)
    async with LoadQueues(zk, PATHS) as queues:
        await queues.wait_synced()
        await writer.write([load(1, term.epoch), load(2, term.epoch)])
        await zk.set(path(1), (await zk.get(path(1))).data)
        failed = ChangeRequest.load(segment(2), CoordMark(term.epoch, failure="no such file"))
        await zk.set(path(2), dumps(failed.to_json()))
        await queues.wait_current()
        seen = {segment_id: entry for (_, segment_id), entry in queues.entries()}
        assert seen[segment(1).id].started
        assert seen[segment(1).id].failure is None
        assert seen[segment(2).id].failure == "no such file"


@pytest.mark.parametrize("method", ["write", "delete"])
async def test_a_deposed_leader_changes_nothing(zk: Client, method: str) -> None:
    term, writer = await leading(zk)
    await writer.write([load(1, term.epoch)])
    await zk.delete(term.path)
    key = (SERVER, segment(1).id)
    changes = {"write": lambda: writer.write([load(2, term.epoch)]), "delete": lambda: writer.delete({key: 0})}
    with pytest.raises(TransactionFailedError) as refused:
        await changes[method]()
    assert refused.value.index == 0
    assert await zk.children(PATHS.load_queue_of(SERVER)) == [segment(1).id]


async def test_a_predecessors_requests_are_taken_over_unless_begun_or_failed(address: str, zk: Client) -> None:
    async with connect(address, session_timeout=4) as old:
        term, writer = await leading(old)
        await writer.write([load(day, term.epoch) for day in range(4)])
        await old.set(path(1), (await old.get(path(1))).data)
        failed = ChangeRequest.load(segment(2), CoordMark(term.epoch, failure="disk full"))
        await old.set(path(2), dumps(failed.to_json()))
        await old.set(path(3), b"garbage", version=0)
        newer, successor = await leading(zk)
        outcome = await successor.write([load(day, newer.epoch) for day in range(5)])
        begun, broken = outcome[SERVER, segment(1).id], outcome[SERVER, segment(2).id]
        assert isinstance(begun, QueueEntry)
        assert begun.started
        assert isinstance(broken, QueueEntry)
        assert broken.failure == "disk full"
        for day in (0, 3, 4):
            data, stat = await zk.get(path(day))
            assert stat.ephemeral_owner == zk.session_id
            assert loads(data)["coord"]["epoch"] == newer.epoch
            assert outcome[SERVER, segment(day).id] == stat.czxid
        assert (await zk.get(path(1))).stat.ephemeral_owner == old.session_id


async def test_taking_back_spares_what_has_begun_and_what_is_gone_holds_up_nothing(zk: Client) -> None:
    term, writer = await leading(zk)
    await writer.write([load(day, term.epoch) for day in range(3)])
    await zk.set(path(1), (await zk.get(path(1))).data)
    outcome = await writer.delete({(SERVER, segment(day).id): 0 for day in range(4)})
    assert outcome[SERVER, segment(0).id] is None
    assert isinstance(outcome[SERVER, segment(1).id], BadVersionError)
    assert outcome[SERVER, segment(2).id] is None
    assert isinstance(outcome[SERVER, segment(3).id], NoNodeError)
    assert await zk.children(PATHS.load_queue_of(SERVER)) == [segment(1).id]


async def test_a_drop_has_the_segment_too(zk: Client) -> None:
    term, writer = await leading(zk)
    await writer.write([(SERVER, ChangeRequest.drop(segment(1), CoordMark(term.epoch, attempt=2)))])
    request = ChangeRequest.from_json(loads((await zk.get(path(1))).data))
    assert request == ChangeRequest(Action.DROP, segment(1), CoordMark(term.epoch, 2))
    assert attrs.asdict(request)["coord"]["failure"] is None


def named(version: str, epoch: int) -> tuple[str, ChangeRequest]:
    bad = attrs.evolve(segment(1), version=version)
    return SERVER, ChangeRequest.load(bad, CoordMark(epoch))


@pytest.mark.parametrize("version", ["v 1/ü", "v😀", "v\ufffd", "v\x01", "v" * 300])
async def test_a_request_that_the_tree_cannot_hold_fails_alone(zk: Client, version: str) -> None:
    """It was refused for want of a parent, and the whole batch was written again, for ever."""
    term, writer = await leading(zk)
    requests = [*(load(day, term.epoch) for day in range(3)), named(version, term.epoch)]
    outcome = await writer.write([requests[3], *requests[:3]])
    (bad,) = [what for (_, segment_id), what in outcome.items() if version in segment_id]
    assert isinstance(bad, BadArgumentsError)
    assert "the name" in str(bad)
    assert len([what for what in outcome.values() if isinstance(what, int)]) == 3


async def test_a_request_that_is_refused_again_and_again_is_given_up(
    zk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes it possible does not help: that is an error, and no reason to try for ever."""
    term, writer = await leading(zk)
    resolved = []

    async def help_nothing(write: Any, cause: KeeperError) -> None:
        resolved.append(write.key)

    monkeypatch.setattr(writer, "_resolve", help_nothing)
    other = ("h2:8083", load(2, term.epoch)[1])
    await zk.ensure_path(PATHS.load_queue_of("h2:8083"))
    outcome = await writer.write([load(1, term.epoch), other])
    assert len(resolved) == REFUSALS_MAX
    assert isinstance(outcome[SERVER, segment(1).id], NoNodeError)
    assert isinstance(outcome["h2:8083", segment(2).id], int)


async def test_a_request_that_cannot_be_deleted_keeps_no_other_from_being(zk: Client) -> None:
    """Somebody has put a znode below it."""
    term, writer = await leading(zk)
    await writer.write([load(0, term.epoch), load(2, term.epoch)])
    await zk.create(path(1), b"")
    await zk.create(f"{path(1)}/child", b"")
    outcome = await writer.delete({(SERVER, segment(day).id): -1 for day in range(3)})
    assert {segment_id: type(what) for (_, segment_id), what in outcome.items()} == {
        segment(0).id: type(None),
        segment(1).id: NotEmptyError,
        segment(2).id: type(None),
    }
