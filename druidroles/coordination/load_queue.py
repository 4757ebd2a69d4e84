"""The Coordinator's side of the load queues: following every server's requests, and writing them behind a fence.

A request is an ephemeral of the leading Coordinator's session at `loadQueue/{server}/{segment}`, so a dead Coordinator
leaves none behind. What is ours in the protocol (requests with the `coord` mark): the Historical sets the request when
it starts (version 0 -> 1), writes a failure and its cause into it, or deletes it in the multi that announces the
segment. So a request may be taken back while its version is 0, and only then; a request that is gone while the segment
is announced was a success.

Every write is a multi that begins with the check of the leader's latch. A deposed leader's writes fail whole, with
index 0 of TransactionFailedError.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import attrs
import trio

from coordserver.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    KeeperError,
    NodeExistsError,
    NoNodeError,
    Term,
    Transaction,
    TransactionFailedError,
)
from coordserver.client.values import Node
from coordserver.core.model.errors import BadArgumentsError
from druidroles.coordination.changes import Deltas
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.coordination.persistence import RETRY_S
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.change_request import ChangeRequest, CoordMark
from druidroles.model.decode import as_object, get_object
from druidroles.model.names import name_fault

log = logging.getLogger(__name__)

REQUESTS_PER_MULTI = 100
BYTES_PER_MULTI = 512 << 10  # a multi is one record and one frame, and ZooKeeper's limit for both is a megabyte

Key = tuple[str, str]  # server, segment id


@attrs.frozen
class QueueEntry:
    """A request as it stands in the tree."""

    request: ChangeRequest
    version: int
    czxid: int

    @property
    def started(self) -> bool:
        """Whether the server has begun, so that it cannot be taken back."""
        return self.version > 0

    @property
    def failure(self) -> str | None:
        """Why the server could not do it, once it has said so."""
        return None if self.request.coord is None else self.request.coord.failure


def _entry(path: str, znode: Node | None, before: QueueEntry | None = None) -> QueueEntry | None:
    request = decoded(path, znode, lambda data: _read(data, before))
    if request is None or znode is None:
        return None
    return QueueEntry(request, znode.stat.version, znode.stat.czxid)


def _read(data: bytes, before: QueueEntry | None) -> ChangeRequest:
    """A request; where only its mark has changed, as at every start, the segment is not read again."""
    obj = as_object(loads(data, duplicates=False), "change request")
    known = None if before is None else before.request
    if known is None or (obj.get("action"), obj.get("identifier")) != (known.action.value, known.id):
        return ChangeRequest.from_json(obj)
    mark = get_object(obj, "coord")
    return attrs.evolve(known, coord=None if mark is None else CoordMark.from_json(mark))


class LoadQueues(View):
    """The requests of all servers. `deltas` has one consumer; a request that comes and goes unseen is not told.

    Most are our own, and soon gone: that one has been begun, or has failed, is early enough known a moment later.
    """

    wait_created = wait_changed = 0.25

    def __init__(self, zk: Client, paths: DruidPaths) -> None:
        super().__init__(zk)
        self.deltas: Deltas[Key, QueueEntry] = Deltas()
        self._paths = paths
        self._entries: dict[str, dict[str, QueueEntry]] = {}

    def entry(self, server: str, segment_id: str) -> QueueEntry | None:
        """One request."""
        return self._entries.get(server, {}).get(segment_id)

    def entries(self) -> Iterator[tuple[Key, QueueEntry]]:
        """All requests. Do not await while iterating."""
        return (((s, i), entry) for s, of_server in self._entries.items() for i, entry in of_server.items())

    def of_server(self, server: str) -> Mapping[str, QueueEntry]:
        """The requests to one server by segment id; not to be changed."""
        return self._entries.get(server, {})

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.load_queue, self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 2:
            return
        server, segment_id = parts
        of_server = self._entries.setdefault(server, {})
        old = of_server.pop(segment_id, None)
        new = _entry(self._paths.load_request(server, segment_id), znode, old)
        if new is not None:
            of_server[segment_id] = new
        if not of_server:
            del self._entries[server]
        self.deltas.put((server, segment_id), old, new)


@attrs.define(eq=False)
class _Write:
    """One request to write, and how: `replaces` is the version of the one before it in its place, if it has one."""

    key: Key
    data: bytes
    replaces: int | None = None
    refusals: int = 0

    def add_to(self, transaction: Transaction, path: str) -> Transaction:
        if self.replaces is not None:
            transaction.delete(path, self.replaces)
        return transaction.create(path, self.data, ephemeral=True)


# How often one request may be refused and made possible anew, within one call. Each refusal says that the tree has
# changed, so more than a few in a row are not progress.
REFUSALS_MAX = 5


class _RefusedError(Exception):
    def __init__(self, write: _Write, cause: KeeperError) -> None:
        super().__init__(cause)
        self.write = write
        self.cause = cause


# What became of a request to be written: its czxid where it stands now; the older one that it met and left alone,
# because its server has begun with it or has told its failure; or why the server refused it.
Outcome = int | QueueEntry | KeeperError


class LoadQueueWriter:
    """Writes and deletes requests in one term. All methods raise TransactionFailedError once the term is over."""

    def __init__(self, zk: Client, paths: DruidPaths, term: Term) -> None:
        self._zk = zk
        self._paths = paths
        self._term = term

    async def write(self, requests: Sequence[tuple[str, ChangeRequest]]) -> dict[Key, Outcome]:
        """Write requests to servers, in multis of at most a hundred; what became of each.

        A request that cannot be written fails alone: one whose name the tree cannot hold is not tried, and one that is
        refused again and again is given up.
        """
        outcome: dict[Key, Outcome] = {}
        waiting: list[_Write] = []
        for server, request in requests:
            fault = name_fault(server) or name_fault(request.id)
            if fault is None:
                waiting.append(_Write((server, request.id), dumps(request.to_json())))
            else:
                outcome[server, request.id] = BadArgumentsError(f"{self._paths.load_queue}/…", f"the name {fault}")
        while waiting:
            batch = _cut(waiting)
            try:
                outcome.update(await self._commit_writes(batch))
            except ConnectionLossError as lost:  # what it did is found when it is refused the next time
                await self._bear(lost)
            except _RefusedError as refused:
                refused.write.refusals += 1
                instead: Outcome | None = refused.cause
                if refused.write.refusals <= REFUSALS_MAX:
                    instead = await self._resolve(refused.write, refused.cause)
                if instead is not None:
                    outcome[refused.write.key] = instead
                    waiting.remove(refused.write)
            else:
                del waiting[: len(batch)]
        return outcome

    async def _commit_writes(self, batch: Sequence[_Write]) -> dict[Key, Outcome]:
        """Commit them together, or raise _RefusedError for the one that was refused first."""
        transaction = self._term.check(self._zk.transaction())
        owners: list[_Write] = []
        for write in batch:
            before = len(transaction)
            write.add_to(transaction, self._paths.load_request(*write.key))
            owners += [write] * (len(transaction) - before)
        try:
            results = await transaction.commit()
        except TransactionFailedError as failed:
            if failed.index == 0:
                raise
            raise _RefusedError(owners[failed.index - 1], failed.cause) from None
        # Of a replacement the delete has no path, and the create comes after it.
        return {write.key: result.zxid for write, result in zip(owners, results[1:], strict=True) if result.path}

    async def _bear(self, lost: ConnectionLossError) -> None:
        log.info("writing the load queues again after: %s", lost)
        await trio.sleep(RETRY_S)

    async def _resolve(self, write: _Write, cause: KeeperError) -> Outcome | None:
        """Make a refused write possible (None), or say what is to stand instead of it."""
        server, segment_id = write.key
        if isinstance(cause, NoNodeError) and write.replaces is None:
            await self._zk.ensure_path(self._paths.load_queue_of(server))
            return None
        if not isinstance(cause, (NoNodeError, NodeExistsError, BadVersionError)):
            return cause
        path = self._paths.load_request(server, segment_id)
        try:
            znode = await self._zk.get(path)
        except NoNodeError:
            write.replaces = None
            return None
        if znode.data == write.data and znode.stat.ephemeral_owner == self._zk.session_id:
            return znode.stat.czxid  # ours, from a try whose answer was lost
        entry = _entry(path, znode)
        if entry is not None and (entry.started or entry.failure is not None):
            return entry
        # A predecessor's request that nobody has begun, or garbage: ours takes its place.
        log.info("taking over the request at %s", path)
        write.replaces = znode.stat.version
        return None

    async def delete(self, keys: Mapping[Key, int]) -> dict[Key, KeeperError | None]:
        """Delete requests, each at the given version (-1: any); for each None, or why it was not (missing, begun)."""
        outcome: dict[Key, KeeperError | None] = {}
        waiting = list(keys)
        while waiting:
            batch = waiting[:REQUESTS_PER_MULTI]
            transaction = self._term.check(self._zk.transaction())
            for key in batch:
                transaction.delete(self._paths.load_request(*key), keys[key])
            try:
                await transaction.commit()
            except ConnectionLossError as lost:  # what it deleted is missing the next time
                await self._bear(lost)
            except TransactionFailedError as failed:
                if failed.index == 0:
                    raise
                refused = batch[failed.index - 1]
                outcome[refused] = failed.cause
                waiting.remove(refused)
            else:
                outcome.update((key, None) for key in batch)
                del waiting[: len(batch)]
        return outcome


def _cut(waiting: Sequence[_Write]) -> Sequence[_Write]:
    """The first writes that fit in one multi."""
    size = 0
    for count, write in enumerate(waiting[:REQUESTS_PER_MULTI]):
        size += len(write.data)
        if size > BYTES_PER_MULTI and count:
            return waiting[:count]
    return waiting[:REQUESTS_PER_MULTI]
