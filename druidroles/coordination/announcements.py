"""Announcing a server and the segments that it serves (Druid's CuratorDataSegmentServerAnnouncer and
BatchDataSegmentAnnouncer).

The announcement stands at `announcements/{host:port}`, the batches below `segments/{host:port}/`, all ephemeral. Who
announces takes the place over: what a predecessor's session left goes in the transaction that announces the successor.
Where the session itself has been taken up, so are the batches: what they say rightly is left as it stands.
After the loss of a session, or when somebody deletes a batch, what should stand is compared with what does, and only
the difference is written.

Changes are written in one transaction each, together with the deletion of the load-queue requests that asked for them.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

import attrs
import trio

from coordserver.client import Client, TransactionFailedError, WatchEvent, WatchKind
from coordserver.client.background import background
from coordserver.client.values import Node
from coordserver.core.model.errors import (
    ConnectionLossError,
    CoordError,
    KeeperError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
)
from druidroles.coordination.batches import Batches, Entries, batch_payload
from druidroles.coordination.inventory import read_batch
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import compress, dumps_gz
from druidroles.coordination.persistence import OF_ONE_ZNODE
from druidroles.model.decode import ModelError
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata

log = logging.getLogger(__name__)

_RETRY_S = 0.2  # after the server refused for a passing reason
_WITHDRAW_S = 1.0
_TRANSACTION_BYTES = 512 * 1024  # a server takes a megabyte; one batch that does not compress is half of it

_SESSION_TROUBLE = (SessionExpiredError, OutcomeUnknownError, ConnectionLossError)


@attrs.frozen
class Dequeue:
    """A load-queue request to be deleted together with what it asked for, if it still has this version."""

    path: str
    version: int


class _Write(NamedTuple):
    """One operation of a transaction: `data` None deletes, `version` None creates, ephemeral."""

    path: str
    data: bytes | None
    version: int | None


class SegmentAnnouncer:
    """What one server announces. Made by `announced_server`."""

    def __init__(
        self, zk: Client, paths: DruidPaths, server: DruidServerMetadata, segments: Iterable[DataSegment]
    ) -> None:
        self.path = paths.announcement(server.name)
        self.directory = paths.segments_of(server.name)
        self._zk = zk
        self._data: bytes | None = dumps_gz(server.to_json())
        # As Druid names them, a random part and a counter; the random part keeps successors apart.
        unique, numbers = uuid.uuid4().hex, count()
        self._batches = Batches(lambda: f"{unique}{next(numbers)}")
        self._batches.accept(self._batches.plan(segments))
        self._changing = trio.Lock()
        self._take_over = True
        self._stood_in = 0

    @property
    def standing(self) -> bool:
        """Whether all is there, as far as we know, in the session that we have now."""
        return self._zk.session_id != 0 and self._stood_in == self._zk.session_id

    def __contains__(self, segment_id: object) -> bool:
        return segment_id in self._batches

    async def change(
        self,
        *,
        add: Iterable[DataSegment] = (),
        remove: Iterable[str] = (),
        dequeue: Sequence[Dequeue] = (),
    ) -> list[Dequeue]:
        """Announce some segments, announce others (by id) no more, and delete requests: in one transaction.

        Returns, once all is done, the requests that could not be deleted because they are gone or have another version;
        the segments are announced all the same. Only where the batches do not fit into one transaction there are more,
        and the last deletes the requests. Raises SegmentTooLargeError, and nothing is changed.
        """
        requests, refused = list(dequeue), []
        async with self._changing:
            left = dict(self._batches.plan(add, remove))
            while left or requests:
                try:
                    if not self.standing:
                        await self._settle()
                    refusal = await self._commit(left, requests)
                except CoordError as error:
                    await self._bear(error)
                else:
                    if refusal is not None:
                        requests.remove(refusal)
                        refused.append(refusal)
        return refused

    async def settle(self) -> None:
        """Bring the tree to what is announced."""
        async with self._changing:
            await self._settle()

    async def withdraw(self) -> None:
        """Announce nothing any more."""
        async with self._changing:
            self._data = None
            self._batches.accept({name: {} for name in list(self._batches.names())})
            await self._settle()

    async def heal(self, vanished: Vanished) -> None:
        """Put back what vanishes, for ever."""
        while True:
            paths = await vanished.next()
            async with self._changing:
                if paths is None or any(self._is_announced(path) for path in paths):
                    self._stood_in = 0
                    await self._settle()

    def _is_announced(self, path: str) -> bool:
        if path == self.path:
            return self._data is not None
        return path == self.directory or self._batches.get(path.removeprefix(self.directory + "/")) is not None

    async def _commit(self, left: dict[str, Entries], requests: list[Dequeue]) -> Dequeue | None:
        """One transaction; takes out of `left` and `requests` what is done. Returns a request that it failed at."""
        writes = [self._batch_write(name, entries) for name, entries in left.items()]
        group = next(_groups(writes), [])
        deletions = [_Write(one.path, None, one.version) for one in requests] if len(group) == len(writes) else []
        try:
            await self._write([*group, *deletions])
        except TransactionFailedError as failed:
            at = failed.index - len(group)
            if at >= 0 and isinstance(failed.cause, OF_ONE_ZNODE):
                return requests[at]
            raise
        done = {name: left.pop(name) for name in list(left)[: len(group)]}
        self._batches.accept(done)
        del requests[: len(deletions)]
        return None

    def _batch_write(self, name: str, entries: Entries) -> _Write:
        path = f"{self.directory}/{name}"
        if not entries:
            return _Write(path, None, -1)
        return _Write(path, compress(batch_payload(entries)), None if self._batches.get(name) is None else -1)

    async def _settle(self) -> None:
        """Compare and write the difference, until it is written in a session that still lives."""
        while True:
            try:
                writes = await self._difference()
                session = self._zk.session_id
                for group in _groups(writes):
                    await self._write(group)
            except CoordError as error:
                await self._bear(error)
            else:
                self._stood_in = session
                self._take_over = False
                return

    async def _difference(self) -> list[_Write]:
        """What has to be written. Batches first: a server is complete when it is seen."""
        try:
            names = await self._zk.children(self.directory)
        except NoNodeError:
            await self._zk.ensure_path(self.directory)
            names = []
        batches = [f"{self.directory}/{name}" for name in names]
        paths = [self.path, *batches]
        standing = dict(zip(paths, await self._zk.read_many(paths), strict=True))
        if self._take_over:
            self._batches.rehome(
                {
                    path.removeprefix(self.directory + "/"): _listed(node)
                    for path in batches
                    if (node := standing[path]) is not None and node.stat.ephemeral_owner == self._zk.session_id
                }
            )
        wanted: dict[str, bytes | None] = {}
        for name in self._batches.names():
            wanted[f"{self.directory}/{name}"] = compress(batch_payload(self._batches.get(name) or {}))
            await trio.lowlevel.checkpoint()
        wanted[self.path] = self._data
        wanted.update((path, None) for path in batches if path not in wanted)
        return [write for path, data in wanted.items() for write in self._put(path, data, standing.get(path))]

    def _put(self, path: str, data: bytes | None, node: Node | None) -> list[_Write]:
        """What makes the znode at `path` hold `data` (None: be gone), given what stands there."""
        if node is None:
            return [] if data is None else [_Write(path, data, None)]
        if node.stat.ephemeral_owner == self._zk.session_id:
            return [] if data == node.data else [_Write(path, data, -1)]
        if not self._take_over:
            log.warning("%s is announced by another session now (0x%x)", path, node.stat.ephemeral_owner)
            return []
        return [_Write(path, None, node.stat.version), *([] if data is None else [_Write(path, data, None)])]

    async def _write(self, writes: Sequence[_Write]) -> None:
        transaction = self._zk.transaction()
        for path, data, version in writes:
            if data is None:
                transaction.delete(path, -1 if version is None else version)
            elif version is None:
                transaction.create(path, data, ephemeral=True)
            else:
                transaction.set(path, data, version)
        if len(transaction):
            await transaction.commit()

    async def _bear(self, error: CoordError) -> None:
        """Decide after a failure whether to go on; raises where that is no use. The next try compares anew."""
        self._stood_in = 0
        if isinstance(error, _SESSION_TROUBLE):
            log.info("announcing %s again: %s", self.path, error)
        elif isinstance(error, (KeeperError, TransactionFailedError)):
            log.warning("announcing %s again: %s", self.path, error)
            await trio.sleep(_RETRY_S)
        else:
            raise error


def _listed(batch: Node) -> list[str]:
    """The ids in a batch that our session has; none where it is garbage, which is then written over."""
    try:
        return list(read_batch(batch.data))
    except ModelError:
        return []


def _groups(writes: Sequence[_Write]) -> Iterator[list[_Write]]:
    """The writes in transactions that a server takes; what replaces a znode stays together."""
    group: list[_Write] = []
    size = 0
    for write in writes:
        length = len(write.path) + len(write.data or b"")
        if group and size + length > _TRANSACTION_BYTES and write.path != group[-1].path:
            yield group
            group, size = [], 0
        group.append(write)
        size += length
    if group:
        yield group


class Vanished:
    """A watch's sink: what was deleted since it was last asked."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._all = False
        self._error: CoordError | None = None
        self._lot = trio.lowlevel.ParkingLot()

    def on_event(self, event: WatchEvent) -> None:
        if event.kind is WatchKind.RESYNC:
            self._all = True
        elif event.kind is WatchKind.DELETED:
            self._paths.add(event.path)
        else:
            return
        self._lot.unpark_all()

    def on_error(self, error: CoordError) -> None:
        self._error = error
        self._lot.unpark_all()

    async def next(self) -> set[str] | None:
        """The deleted paths, at least one; None where any may be. Raises what ended the watch."""
        while not (self._all or self._paths):
            if self._error is not None:
                raise self._error
            await self._lot.park()
        paths = None if self._all else self._paths
        self._paths, self._all = set(), False
        return paths


@asynccontextmanager
async def announced_server(
    zk: Client, paths: DruidPaths, server: DruidServerMetadata, segments: Iterable[DataSegment] = ()
) -> AsyncIterator[SegmentAnnouncer]:
    """Announce a server and what it serves for as long as the block lasts."""
    announcer = SegmentAnnouncer(zk, paths, server, segments)
    vanished = Vanished()
    await zk.ensure_path(announcer.directory)
    async with (
        background() as nursery,
        zk.watch_into(vanished, announcer.directory, recursive=True),
        zk.watch_into(vanished, announcer.path),
    ):
        await announcer.settle()
        nursery.start_soon(announcer.heal, vanished)
        try:
            yield announcer
        finally:
            nursery.cancel_scope.cancel(reason="withdrawn")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _WITHDRAW_S):
                await announcer.withdraw()
