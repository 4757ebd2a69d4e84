"""The requests in one server's own load queue, and what the server may do to each.

    waiting -> started (version 0 -> 1) -> deleted, with the announcement     it succeeded
                                        -> set, with the cause                it failed; the Coordinator deletes it
            -> deleted at version 0 by the Coordinator                        it was cancelled

A request whose payload has no key `coord` is Druid's own: it is never set, only deleted when all is done, because
Druid's Coordinator waits for the deletion with a one-shot watch that any change would spend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum
from heapq import nsmallest

import attrs
import trio

from coordserver.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    KeeperError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
    TransactionFailedError,
)
from coordserver.client.values import Node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.coordination.persistence import OF_ONE_ZNODE
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.change_request import Action, ChangeRequest
from druidroles.model.decode import ModelError

log = logging.getLogger(__name__)

_RETRY_S = 0.2
_SESSION_TROUBLE = (SessionExpiredError, OutcomeUnknownError, ConnectionLossError)


class Start(Enum):
    """How the start of a request went.

    OVERWRITTEN: another request had taken its place, at version 0 as well, before we heard of it; ours was written over
    it, and nothing must be done.
    """

    STARTED = "started"
    CANCELLED = "cancelled"
    OVERWRITTEN = "overwritten"


@attrs.define(eq=False)
class QueuedRequest:
    """A request and its znode: `czxid` tells which incarnation of the path, `version` what we know it to have."""

    path: str
    name: str
    request: ChangeRequest
    czxid: int
    version: int

    @property
    def marked(self) -> bool:
        """Whether our Coordinator wrote it, so that it may be set."""
        return self.request.coord is not None

    @property
    def started(self) -> bool:
        """Whether it is started, by us or by our predecessor at this address, and so cannot be cancelled."""
        return self.request.coord is not None and self.request.coord.started_ms is not None


class LoadQueueView(View):
    """One server's own queue. Who takes requests with `take` gives their names back with `release`.

    Only one request about a segment is in hand at a time: one that comes while an older one about the same segment is
    worked on waits for it.
    """

    wait_changed = 1.0  # what changes is what we have set ourselves, and will soon delete

    def __init__(self, zk: Client, paths: DruidPaths, host_port: str) -> None:
        super().__init__(zk)
        self._paths = paths
        self._host_port = host_port
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, QueuedRequest] = {}
        self._in_hand: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many requests nobody has taken yet."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """How many requests wait or are in hand."""
        return len(self._waiting) + len(self._in_hand)

    async def wait_for(self, actions: Collection[Action]) -> None:
        """Wait until there is something to `take`: all that came together is there, so that it can begin together."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not any(self._free(actions)):
            await self.changed()

    def take(self, actions: Collection[Action], most: int) -> list[QueuedRequest]:
        """The oldest requests of these kinds, `most` at most; they are in hand from now on."""
        taken = nsmallest(most, self._free(actions), key=lambda one: one.czxid)
        for one in taken:
            del self._waiting[one.name]
            self._in_hand.add(one.name)
        return taken

    def _free(self, actions: Collection[Action]) -> Iterator[QueuedRequest]:
        waiting = self._waiting.values()
        return (one for one in waiting if one.request.action in actions and one.name not in self._in_hand)

    def release(self, name: str) -> None:
        """The request is done with."""
        self._in_hand.discard(name)
        if name in self._waiting:
            self.revision.bump()

    def knows(self, overwritten: QueuedRequest) -> bool:
        """Whether the request that was written over was read before; if it was not, it is passed over from now on."""
        known = self._seen.get(overwritten.name) == overwritten.czxid
        self._seen[overwritten.name] = overwritten.czxid
        return known

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.load_queue_of(self._host_port), self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 1:
            return
        name = parts[0]
        if znode is None:
            self._seen.pop(name, None)
            self._waiting.pop(name, None)
            return
        if self._seen.get(name) == znode.stat.czxid:
            return  # what we, or the one who had it before us, have set
        self._seen[name] = znode.stat.czxid
        self._waiting.pop(name, None)
        path = self._paths.load_request(self._host_port, name)
        request = decoded(path, znode, lambda data: _read(name, data))
        if request is not None and not (request.coord is not None and request.coord.failure is not None):
            self._waiting[name] = QueuedRequest(path, name, request, znode.stat.czxid, znode.stat.version)


def _read(name: str, data: bytes) -> ChangeRequest:
    request = ChangeRequest.from_json(loads(data, duplicates=False))
    if request.segment is not None and request.id != name:
        raise ModelError(f"it is about segment {request.id!r}")
    return request


class RequestWriter:
    """Starting, failing and deleting requests. Every call ends with the request in the promised state, or gone."""

    def __init__(self, zk: Client, clock: Callable[[], int]) -> None:
        self._zk = zk
        self._clock = clock

    async def start(self, group: Sequence[QueuedRequest]) -> list[Start]:
        """Mark the start of each. What is Druid's, or started already, is left alone and counts as started.

        Several are marked in one transaction; where one of them cannot be, each is marked by itself.
        """
        czxids = [queued.czxid for queued in group]
        to_mark = [queued for queued in group if queued.marked and not queued.started]
        if len(to_mark) > 1:
            await self._mark_together(to_mark)
        outcome: list[Start] = []
        for queued, czxid in zip(group, czxids, strict=True):
            there = queued.started or not queued.marked or await self._set(queued, self._begun(queued))
            same = queued.czxid == czxid
            outcome.append(Start.CANCELLED if not there else Start.STARTED if same else Start.OVERWRITTEN)
        return outcome

    async def _mark_together(self, group: Sequence[QueuedRequest]) -> None:
        begun = [self._begun(queued) for queued in group]
        transaction = self._zk.transaction()
        for queued, request in zip(group, begun, strict=True):
            transaction.set(queued.path, dumps(request.to_json()), queued.version)
        try:
            results = await transaction.commit()
        except (TransactionFailedError, KeeperError, *_SESSION_TROUBLE) as error:
            log.info("%d requests are started one by one: %s", len(group), error)
            return
        for queued, request, result in zip(group, begun, results, strict=True):
            if result.stat is not None:
                queued.request, queued.version, queued.czxid = request, result.stat.version, result.stat.czxid

    def _begun(self, queued: QueuedRequest) -> ChangeRequest:
        mark = queued.request.coord
        return attrs.evolve(queued.request, coord=mark and attrs.evolve(mark, started_ms=self._clock()))

    async def fail(self, queued: QueuedRequest, cause: str) -> None:
        """Tell why it could not be done; Druid's own requests have no place for that and are deleted."""
        if queued.request.coord is None:
            await self.delete(queued)
            return
        failed = attrs.evolve(queued.request, coord=attrs.evolve(queued.request.coord, failure=cause))
        await self._set(queued, failed)

    async def delete(self, queued: QueuedRequest) -> None:
        """Delete it, whatever version it has; one that came after it at the same path is left alone."""
        while True:
            try:
                await self._zk.delete(queued.path, version=queued.version)
            except NoNodeError:
                return
            except (KeeperError, *_SESSION_TROUBLE) as error:
                if not await self._still_there(queued, error):
                    return
            else:
                return

    async def _set(self, queued: QueuedRequest, request: ChangeRequest) -> bool:
        """Set the payload; False if the request is gone."""
        data = dumps(request.to_json())
        while True:
            try:
                stat = await self._zk.set(queued.path, data, version=queued.version)
            except NoNodeError:
                return False
            except (KeeperError, *_SESSION_TROUBLE) as error:
                if not await self._still_there(queued, error):
                    return False
            else:
                queued.request, queued.version, queued.czxid = request, stat.version, stat.czxid
                return True

    async def _still_there(self, queued: QueuedRequest, error: Exception) -> bool:
        """After a write failed, or may have: learn the version it has now.

        False if the znode is another, or gone, or if the servers refuse what is asked of it: that is tried no more, as
        it would hold up the requests behind it.
        """
        while True:
            if isinstance(error, OF_ONE_ZNODE) and not isinstance(error, BadVersionError):
                log.error("load request %s is left as it is: %s", queued.path, error)
                return False
            if not isinstance(error, BadVersionError):
                log.info("load request %s, again: %s", queued.path, error)
                await trio.sleep(_RETRY_S)
            try:
                node = await self._zk.get(queued.path)
            except NoNodeError:
                return False
            except (KeeperError, *_SESSION_TROUBLE) as again:
                error = again
            else:
                queued.version = node.stat.version
                return node.stat.czxid == queued.czxid
