"""The Historical's side of the load queue, with a fake Coordinator that writes requests in a session of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from made_segments import make_segment

from coordserver.client import Client, NoNodeError, WatchEvent, WatchKind, WatchStream
from coordserver.client.background import background
from coordserver.core.model.acl import READ_ACL_UNSAFE
from druidroles.coordination.announcements import SegmentAnnouncer, announced_server
from druidroles.coordination.inventory import read_batch
from druidroles.coordination.load_queue_runner import LoadFailedError, LoadWorker
from druidroles.coordination.load_queue_server import LoadQueueView, RequestWriter, Start
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.model.change_request import Action, ChangeRequest, CoordMark
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata

ME = "127.0.0.1:8083"
MARK = CoordMark(epoch=7, attempt=1)
NOW_MS = 1_700_000_000_000
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Keeper:
    """Has what it is told to load, as soon as `gate` is open."""

    def __init__(self) -> None:
        self.has: dict[str, DataSegment] = {}
        self.begun: list[str] = []
        self.dropped: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.gate = trio.Event()
        self.gate.set()

    async def load(self, segment: DataSegment) -> None:
        self.begun.append(segment.id)
        await self.gate.wait()
        if segment.id in self.failures:
            raise self.failures[segment.id]
        self.has[segment.id] = segment

    def drop(self, segment_id: str) -> None:
        self.has.pop(segment_id, None)
        self.dropped.append(segment_id)


@attrs.frozen
class Coordinator:
    """Writes requests and looks at what becomes of them."""

    zk: Client
    paths: DruidPaths

    async def ask(self, request: ChangeRequest) -> str:
        path = self.paths.load_request(ME, request.id)
        await self.zk.create(path, dumps(request.to_json()), ephemeral=True)
        return path

    async def load(self, day: int, coord: CoordMark | None = MARK) -> str:
        return await self.ask(ChangeRequest.load(make_segment(day), coord))

    async def drop(self, day: int, coord: CoordMark | None = MARK) -> str:
        return await self.ask(ChangeRequest.drop(make_segment(day), coord))

    async def replace_by_drop(self, day: int) -> None:
        path = self.paths.load_request(ME, of(day))
        drop = dumps(ChangeRequest.drop(make_segment(day), CoordMark(8, 1)).to_json())
        await self.zk.transaction().delete(path, 0).create(path, drop, ephemeral=True).commit()

    async def announced(self) -> list[str]:
        found = []
        for name in await self.zk.children(self.paths.segments_of(ME)):
            found += list(read_batch((await self.zk.get(f"{self.paths.segments_of(ME)}/{name}")).data))
        return found

    async def mark(self, path: str) -> tuple[int, dict[str, Any]] | None:
        """The version of a request and our key in it."""
        try:
            node = await self.zk.get(path)
        except NoNodeError:
            return None
        return node.stat.version, loads(node.data)["coord"]


@attrs.frozen
class Worker:
    """What is tested, with what it works on."""

    keeper: Keeper
    queue: LoadQueueView
    announcer: SegmentAnnouncer


@pytest.fixture
def coordinator(other: Client, paths: DruidPaths) -> Coordinator:
    return Coordinator(other, paths)


@pytest.fixture
async def queue_there(zk: Client, paths: DruidPaths) -> None:
    await zk.ensure_path(paths.load_queue_of(ME))


@pytest.fixture
async def worker(zk: Client, paths: DruidPaths, queue_there: None) -> AsyncIterator[Worker]:
    keeper = Keeper()
    server = DruidServerMetadata(name=ME, host=ME, max_size=1000)
    async with (
        announced_server(zk, paths, server) as announcer,
        LoadQueueView(zk, paths, ME) as queue,
        background() as nursery,
    ):
        work = LoadWorker(zk, queue, announcer, keeper, load_threads=2, clock=lambda: NOW_MS)
        nursery.start_soon(work.run)
        yield Worker(keeper, queue, announcer)


async def events_until(stream: WatchStream, done: Callable[[WatchEvent], bool]) -> list[WatchEvent]:
    """The events up to one."""
    seen: list[WatchEvent] = []
    with trio.fail_after(20):
        while not (seen and done(seen[-1])):
            seen.append(await anext(stream))
    return seen


def deleted(path: str) -> Callable[[WatchEvent], bool]:
    return lambda event: event.kind is WatchKind.DELETED and event.path == path


def of(day: int) -> str:
    return make_segment(day).id


async def test_a_load_is_started_then_announced_and_dequeued_in_one_transaction(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths
) -> None:
    worker.keeper.gate = trio.Event()
    async with coordinator.zk.watch("/druid", recursive=True) as stream:
        path = await coordinator.load(1)
        seen = await events_until(stream, lambda event: event.kind is WatchKind.CHANGED)
        assert [event.path for event in seen] == [path, path]
        assert await coordinator.mark(path) == (1, {"epoch": 7, "attempt": 1, "started": NOW_MS})
        assert await coordinator.announced() == []
        worker.keeper.gate.set()
        await events_until(stream, deleted(path))
        assert await coordinator.announced() == [of(1)]
    [name] = await coordinator.zk.children(paths.segments_of(ME))
    batch = await coordinator.zk.get(f"{paths.segments_of(ME)}/{name}")
    queue = await coordinator.zk.exists(paths.load_queue_of(ME))
    assert queue is not None
    assert batch.stat.czxid == queue.pzxid  # the batch came in the transaction in which the request went


async def test_what_finishes_meanwhile_is_finished_together(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths, eventually: Eventually
) -> None:
    requests: dict[str, int] = {}
    async with coordinator.zk.watch(paths.load_queue_of(ME), recursive=True) as stream:
        async with worker.announcer._changing:  # as long as a transaction takes
            for day in range(1, 61):
                requests[await coordinator.load(day)] = 0

            async def all_here() -> bool:
                return len(worker.keeper.has) == 60

            await eventually(all_here)
        while not all(requests.values()):
            event = await anext(stream)
            if event.kind is WatchKind.DELETED:
                requests[event.path] = event.zxid
    assert len(set(requests.values())) == 2  # the one that was first, and the rest
    assert sorted(await coordinator.announced()) == sorted(of(day) for day in range(1, 61))
    assert len(await coordinator.zk.children(paths.segments_of(ME))) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (LoadFailedError("no room for it"), "no room for it"),
        (RuntimeError("what nobody thought of"), "RuntimeError: what nobody thought of"),
    ],
)
async def test_a_failure_is_written_with_its_cause_and_left_for_the_coordinator(
    worker: Worker, coordinator: Coordinator, eventually: Eventually, fault: Exception, cause: str
) -> None:
    worker.keeper.failures[of(1)] = fault
    path = await coordinator.load(1)
    other = await coordinator.load(2)

    async def failed() -> bool:
        mark = await coordinator.mark(path)
        return mark is not None and "failure" in mark[1]

    await eventually(failed)
    assert await coordinator.mark(path) == (2, {"epoch": 7, "attempt": 1, "started": NOW_MS, "failure": cause})
    await coordinator.zk.wait_deleted(other)
    assert await coordinator.announced() == [of(2)]
    # The next attempt is a new request at the same path.
    await coordinator.zk.delete(path)
    del worker.keeper.failures[of(1)]
    await coordinator.load(1, CoordMark(7, 2))
    await coordinator.zk.wait_deleted(path)
    assert sorted(await coordinator.announced()) == [of(1), of(2)]


async def test_a_drop_is_unannounced_and_dequeued_in_one_transaction_before_the_files_go(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths
) -> None:
    for day in (1, 2):
        await coordinator.zk.wait_deleted(await coordinator.load(day))
    directory = paths.segments_of(ME)
    async with coordinator.zk.watch("/druid", recursive=True) as stream:
        path = await coordinator.drop(1)
        seen = await events_until(stream, deleted(path))
        [changed] = [event for event in seen if event.path.startswith(directory)]
        assert changed.zxid == seen[-1].zxid
    assert await coordinator.announced() == [of(2)]
    await coordinator.zk.wait_deleted(await coordinator.drop(2))
    assert worker.keeper.dropped == [of(1), of(2)]
    assert await coordinator.zk.children(directory) == []


async def test_a_drop_does_not_wait_for_a_download(worker: Worker, coordinator: Coordinator) -> None:
    await coordinator.zk.wait_deleted(await coordinator.load(1))
    worker.keeper.gate = trio.Event()
    for day in range(2, 6):
        await coordinator.load(day)
    await coordinator.zk.wait_deleted(await coordinator.drop(1))


async def test_druids_own_request_is_never_set(worker: Worker, coordinator: Coordinator, paths: DruidPaths) -> None:
    async with coordinator.zk.watch("/druid", recursive=True) as stream:
        path = await coordinator.load(1, None)
        seen = await events_until(stream, deleted(path))
        kinds = [(event.kind, event.path == path) for event in seen]
        assert kinds == [(WatchKind.CREATED, True), (WatchKind.CREATED, False), (WatchKind.DELETED, True)]
        assert await coordinator.announced() == [of(1)]  # announce, then delete
        worker.keeper.failures[of(2)] = LoadFailedError("broken")
        path = await coordinator.load(2, None)
        seen = await events_until(stream, deleted(path))
        assert [event.kind for event in seen] == [WatchKind.CREATED, WatchKind.DELETED]
        path = await coordinator.drop(1, None)
        seen = await events_until(stream, deleted(path))
        assert all(event.kind is not WatchKind.CHANGED or event.path != path for event in seen)
    assert await coordinator.announced() == []


async def test_a_noop_is_deleted(worker: Worker, coordinator: Coordinator, paths: DruidPaths) -> None:
    path = paths.load_request(ME, "orphan")
    await coordinator.zk.create(path, dumps(ChangeRequest(Action.NOOP).to_json()), ephemeral=True)
    await coordinator.zk.wait_deleted(path)


async def test_a_request_cancelled_before_its_start_is_never_begun(
    worker: Worker, coordinator: Coordinator, eventually: Eventually
) -> None:
    worker.keeper.gate = trio.Event()
    paths = [await coordinator.load(day) for day in (1, 2, 3)]

    async def one_waits() -> bool:
        return len(worker.keeper.begun) == 2 and worker.queue.waiting == 1

    async def none_waits() -> bool:
        return worker.queue.waiting == 0

    await eventually(one_waits)
    await coordinator.zk.delete(paths[2], version=0)
    await eventually(none_waits)
    worker.keeper.gate.set()
    for path in paths:
        await coordinator.zk.wait_deleted(path)
    assert worker.keeper.begun == [of(1), of(2)]
    assert sorted(await coordinator.announced()) == [of(1), of(2)]


async def test_a_start_that_loses_to_the_cancellation_loads_nothing(
    zk: Client, paths: DruidPaths, worker: Worker, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view still shows the request when it is cancelled."""
    raced = trio.Event()
    set_data = zk.set

    async def late(path: str, data: bytes, *, version: int = -1) -> Any:
        await coordinator.zk.delete(path, version=0)
        raced.set()
        return await set_data(path, data, version=version)

    monkeypatch.setattr(zk, "set", late)
    await coordinator.load(1)
    with trio.fail_after(20):
        await raced.wait()
    monkeypatch.setattr(zk, "set", set_data)
    await coordinator.zk.wait_deleted(await coordinator.load(2))
    assert worker.keeper.begun == [of(2)]


async def ask_together(coordinator: Coordinator, *days: int) -> list[str]:
    """Requests that come in one transaction, as a Coordinator writes them."""
    transaction = coordinator.zk.transaction()
    paths = [coordinator.paths.load_request(ME, of(day)) for day in days]
    for path, day in zip(paths, days, strict=True):
        transaction.create(path, dumps(ChangeRequest.load(make_segment(day), MARK).to_json()), ephemeral=True)
    await transaction.commit()
    return paths


async def test_as_many_loads_as_lanes_are_free_are_started_in_one_transaction(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths
) -> None:
    worker.keeper.gate = trio.Event()
    async with coordinator.zk.watch(paths.load_queue_of(ME), recursive=True) as stream:
        requests = await ask_together(coordinator, 1, 2, 3)
        seen = await events_until(stream, lambda event: event.kind is WatchKind.CHANGED)
        seen.append(await anext(stream))
        started = [event for event in seen if event.kind is WatchKind.CHANGED]
        assert [event.path for event in started] == requests[:2]
        assert started[0].zxid == started[1].zxid
        assert worker.queue.waiting == 1
        worker.keeper.gate.set()
        for path in requests:
            await coordinator.zk.wait_deleted(path)
    assert sorted(await coordinator.announced()) == [of(1), of(2), of(3)]


@pytest.mark.parametrize("fate", [Start.CANCELLED, Start.OVERWRITTEN])
async def test_one_request_that_is_not_there_any_more_does_not_keep_the_others_from_starting(
    zk: Client, paths: DruidPaths, queue_there: None, coordinator: Coordinator, eventually: Eventually, fate: Start
) -> None:
    """The view has handed out all of them when it goes, or another takes its place."""
    requests = await ask_together(coordinator, 1, 2, 3)
    async with LoadQueueView(zk, paths, ME) as queue:

        async def all_wait() -> bool:
            return queue.waiting == 3

        await eventually(all_wait)
        group = queue.take([Action.LOAD], 3)
        if fate is Start.CANCELLED:
            await coordinator.zk.delete(requests[1], version=0)
        else:
            await coordinator.replace_by_drop(2)
        outcome = await RequestWriter(zk, lambda: NOW_MS).start(group)
    assert outcome == [Start.STARTED, fate, Start.STARTED]
    started = (1, {"epoch": 7, "attempt": 1, "started": NOW_MS})
    assert [await coordinator.mark(path) for path in (requests[0], requests[2])] == [started, started]


async def test_what_was_started_is_announced_though_its_coordinator_has_gone(
    worker: Worker, coordinator: Coordinator, eventually: Eventually
) -> None:
    worker.keeper.gate = trio.Event()
    path = await coordinator.load(1)

    async def started() -> bool:
        return bool(worker.keeper.begun)

    await eventually(started)
    await coordinator.zk.delete(path)
    worker.keeper.gate.set()

    async def announced() -> bool:
        return await coordinator.announced() == [of(1)]

    await eventually(announced)


async def test_a_new_coordinators_request_for_what_is_being_loaded_succeeds_with_it(
    worker: Worker, coordinator: Coordinator, eventually: Eventually
) -> None:
    worker.keeper.gate = trio.Event()
    path = await coordinator.load(1)

    async def started() -> bool:
        return bool(worker.keeper.begun)

    await eventually(started)
    await coordinator.zk.delete(path)
    await coordinator.load(1, CoordMark(8, 1))

    async def waits() -> bool:
        return worker.queue.waiting == 1

    await eventually(waits)  # for the one that is under way, though a lane is free
    assert worker.keeper.begun == [of(1)]
    worker.keeper.gate.set()
    await coordinator.zk.wait_deleted(path)
    assert await coordinator.announced() == [of(1)]
    # It was started in its own right, not deleted by the older one's transaction.
    assert worker.keeper.begun == [of(1), of(1)]


async def test_a_request_that_a_new_coordinator_replaces_is_done_once(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths, eventually: Eventually
) -> None:
    worker.keeper.gate = trio.Event()
    for day in (1, 2, 3):
        await coordinator.load(day)

    async def one_waits() -> bool:
        return len(worker.keeper.begun) == 2 and worker.queue.waiting == 1

    await eventually(one_waits)
    path = paths.load_request(ME, of(3))
    newer = dumps(ChangeRequest.load(make_segment(3), CoordMark(8, 1)).to_json())
    await coordinator.zk.transaction().delete(path, 0).create(path, newer, ephemeral=True).commit()

    async def heard() -> bool:
        return worker.queue._waiting[of(3)].request.coord == CoordMark(8, 1)

    await eventually(heard)
    before, worker.keeper.gate = worker.keeper.gate, trio.Event()
    before.set()

    async def started() -> bool:
        return worker.keeper.begun[2:] == [of(3)]

    await eventually(started)
    assert await coordinator.mark(path) == (1, {"epoch": 8, "attempt": 1, "started": NOW_MS})
    worker.keeper.gate.set()
    await coordinator.zk.wait_deleted(path)
    assert worker.keeper.begun.count(of(3)) == 1


async def test_a_request_overwritten_unheard_of_ends_as_a_failure(
    zk: Client, worker: Worker, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """A drop has taken the place of the load that is just being started: neither can be done."""
    set_data, read_many = zk.set, zk.read_many
    overwritten = trio.Event()

    async def late(path: str, data: bytes, *, version: int = -1) -> Any:
        monkeypatch.setattr(zk, "set", set_data)
        monkeypatch.setattr(zk, "read_many", blocked)
        await coordinator.replace_by_drop(1)
        stat = await set_data(path, data, version=version)
        overwritten.set()
        return stat

    async def blocked(paths: Any) -> Any:
        await overwritten.wait()
        return await read_many(paths)

    monkeypatch.setattr(zk, "set", late)
    path = await coordinator.load(1)

    async def failed() -> bool:
        mark = await coordinator.mark(path)
        return mark is not None and "ask again" in mark[1].get("failure", "")

    await eventually(failed)
    await coordinator.zk.wait_deleted(await coordinator.load(2))
    assert (worker.keeper.begun, worker.keeper.dropped) == ([of(2)], [])
    await coordinator.zk.delete(path)
    await coordinator.zk.wait_deleted(await coordinator.load(1))
    assert sorted(await coordinator.announced()) == [of(1), of(2)]


async def test_a_request_overwritten_but_heard_of_is_done(
    zk: Client, worker: Worker, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    set_data = zk.set

    async def late(path: str, data: bytes, *, version: int = -1) -> Any:
        monkeypatch.setattr(zk, "set", set_data)
        await coordinator.replace_by_drop(1)
        await eventually(heard)
        return await set_data(path, data, version=version)

    async def heard() -> bool:
        return worker.queue.waiting == 1

    monkeypatch.setattr(zk, "set", late)
    await coordinator.load(1)

    async def dropped() -> bool:
        return worker.keeper.dropped == [of(1)]

    await eventually(dropped)
    assert worker.keeper.begun == []


async def test_a_request_that_the_predecessor_had_started_is_finished(
    queue_there: None, coordinator: Coordinator, zk: Client, paths: DruidPaths
) -> None:
    started = await coordinator.load(1, attrs.evolve(MARK, started_ms=5))
    failed = await coordinator.load(2, attrs.evolve(MARK, started_ms=5, failure="no room"))
    worker: Worker = await _worker_of(zk, paths, coordinator, started)
    assert worker.keeper.begun == [of(1)]
    assert await coordinator.mark(failed) == (0, {"epoch": 7, "attempt": 1, "started": 5, "failure": "no room"})


async def _worker_of(zk: Client, paths: DruidPaths, coordinator: Coordinator, until_deleted: str) -> Worker:
    keeper = Keeper()
    server = DruidServerMetadata(name=ME, host=ME)
    async with (
        announced_server(zk, paths, server) as announcer,
        LoadQueueView(zk, paths, ME) as queue,
        background() as nursery,
    ):
        nursery.start_soon(LoadWorker(zk, queue, announcer, keeper, load_threads=1).run)
        with trio.fail_after(20):
            await coordinator.zk.wait_deleted(until_deleted)
        return Worker(keeper, queue, announcer)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"action":"load"}',
        b'{"action":"explode"}',
        json.dumps({"action": "load", **make_segment(9).to_json(), "coord": {"epoch": "x"}}).encode(),
        json.dumps({"action": "load", **make_segment(8).to_json()}).encode(),  # not the segment of its name
        b'{"action":"load","size":-1}',
    ],
)
async def test_garbage_is_reported_and_skipped(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = paths.load_request(ME, of(9))
    await coordinator.zk.create(path, data, ephemeral=True)
    await coordinator.zk.wait_deleted(await coordinator.load(1))
    assert worker.keeper.begun == [of(1)]
    node = await coordinator.zk.get(path)
    assert (node.data, node.stat.version) == (data, 0)
    assert f"skipping znode {path}" in caplog.text


async def test_a_segment_too_large_to_announce_fails_alone(
    worker: Worker, coordinator: Coordinator, eventually: Eventually
) -> None:
    huge = make_segment(1, dimensions=("x" * 530_000,))
    path = await coordinator.ask(ChangeRequest.load(huge, MARK))

    async def failed() -> bool:
        mark = await coordinator.mark(path)
        return mark is not None and "description of segment" in mark[1].get("failure", "")

    await eventually(failed)
    await coordinator.zk.wait_deleted(await coordinator.load(2))
    assert worker.keeper.begun == [of(2)]


async def test_a_request_that_may_not_be_touched_holds_up_no_other(
    worker: Worker, coordinator: Coordinator, paths: DruidPaths, caplog: pytest.LogCaptureFixture
) -> None:
    """Its start was refused, and tried again for ever, before anything that came after it."""
    path = paths.load_request(ME, of(1))
    request = dumps(ChangeRequest.load(make_segment(1), MARK).to_json())
    await coordinator.zk.create(path, request, ephemeral=True, acl=READ_ACL_UNSAFE)
    for day in (2, 3):
        await coordinator.zk.wait_deleted(await coordinator.load(day))
    assert sorted(worker.keeper.begun) == [of(2), of(3)]
    assert (await coordinator.zk.get(path)).stat.version == 0
    assert len([r for r in caplog.records if "is left as it is" in r.getMessage()]) == 1


async def test_the_work_goes_on_in_the_next_session(
    zk: Client, worker: Worker, coordinator: Coordinator, expire: Callable[[Client], Awaitable[None]]
) -> None:
    await coordinator.zk.wait_deleted(await coordinator.load(1))
    worker.keeper.gate = trio.Event()
    requests = [await coordinator.load(day) for day in range(2, 8)]
    await expire(zk)
    worker.keeper.gate.set()
    for path in requests:
        await coordinator.zk.wait_deleted(path)
    assert sorted(await coordinator.announced()) == sorted(of(day) for day in range(1, 8))
    assert await coordinator.zk.exists(worker.announcer.path) is not None
