"""A copy of a subtree, kept current: what a view of the cluster is built on.

How it stays right with nothing but ZooKeeper's promises. A recursive watch is armed first, so that whatever changes
later is told. Then the subtree is listed and read. Events only say *where* something happened: created and changed
znodes are read (again), and of two answers about one znode the one with the higher mzxid counts. A deletion is believed
without a read where the event carries its zxid: it ends every incarnation created before it, those included whose reads
are still under way. One task does all reading, and what one round of reads brings is taken over at once, so that what a
single transaction did (delete and create the same znode, say) is seen as one change.

When events may be missing (RESYNC: the server could not replay them, or a new session began), the subtree is read again
beside the old copy, and only the difference is told. Nothing is ever told as removed because a connection was lost.

Where much comes and soon goes again, and need not be known at once, a cache may let what was created or changed wait a
moment: what is deleted meanwhile is never read, and never told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple, Protocol

import trio

from coordserver.client.background import background
from coordserver.client.values import Node, WatchEvent, WatchKind
from coordserver.client.watches import WatchSink
from coordserver.core.model.errors import CoordError, KeeperError, SessionExpiredError
from coordserver.core.model.paths import is_within, join, name_of, parent_of

log = logging.getLogger(__name__)

_LOAD_CHUNK = 256  # znodes read together: enough to hide the round trip, few enough not to hold up the loop
_RETRY_S = 0.2  # after the server refused a read for a passing reason


class CacheChange(NamedTuple):
    """What became of one znode since it was last told: `old` None added, `new` None removed, else changed."""

    path: str
    old: Node | None
    new: Node | None


class TreeReader(Protocol):
    """What the cache needs of a client."""

    async def read_many(self, paths: Sequence[str]) -> list[Node | None]: ...

    async def read_with_children(self, paths: Sequence[str]) -> list[tuple[Node, list[str]] | None]: ...

    def watch_into(
        self, sink: WatchSink, path: str, *, recursive: bool = False
    ) -> AbstractAsyncContextManager[None]: ...


class TreeCache:
    """The subtree at `root`, which need not exist. Made by `Client.cache`; it has one consumer of changes."""

    def __init__(self, root: str, wait_created: float = 0.0, wait_changed: float = 0.0) -> None:
        self.root = root
        self.resyncs = 0
        self._waits = {WatchKind.CREATED: wait_created, WatchKind.CHANGED: wait_changed}
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, dict[str, None]] = {}
        self._changes: dict[str, CacheChange] = {}
        self._dirty: dict[str, None] = {}
        self._later: dict[WatchKind, dict[str, float]] = {WatchKind.CREATED: {}, WatchKind.CHANGED: {}}
        self._deleted: dict[str, int] = {}
        self._reload = True
        self._loading = True
        self._busy = True
        self._error: CoordError | None = None
        self._work = trio.lowlevel.ParkingLot()
        self._news = trio.lowlevel.ParkingLot()

    # -- reading the copy -------------------------------------------------------------------------------------------

    def get(self, path: str) -> Node | None:
        """The znode as last seen."""
        return self._nodes.get(path)

    def children(self, path: str) -> list[str]:
        """The names of its children, sorted; none if it does not exist."""
        return sorted(self._names.get(path, ()))

    def paths(self, prefix: str | None = None) -> Iterator[str]:
        """Every path at or below `prefix` (the root), in no order. Do not await while iterating."""
        if prefix is None or prefix == self.root:
            return iter(self._nodes)
        return (path for path in self._nodes if is_within(path, prefix))

    def __contains__(self, path: object) -> bool:
        return path in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def synced(self) -> bool:
        """Whether the copy is complete: not before the first reading, nor while reading again."""
        return not self._loading

    async def wait_synced(self) -> None:
        """Wait until the copy is complete. Raises what ended the watch, if it could not be kept."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._loading:
            await self._next_news()

    async def next_changes(self) -> list[CacheChange]:
        """Everything that changed since the last call, once for each path; waits until there is something.

        The first calls bring the state found at the start, as additions. Raises what ended the watch.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._changes:
            await self._next_news()
        changes = list(self._changes.values())
        self._changes.clear()
        self._news.unpark_all()  # whoever waits until all is handed out
        return changes

    async def wait_settled(self) -> None:
        """Wait until the copy shows all that the events told so far, and `next_changes` has handed all of it out."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._busy or self._loading or self._has_news() or self._changes:
            await self._next_news()

    def _has_news(self) -> bool:
        return bool(self._dirty or self._deleted or any(self._later.values()))

    async def _next_news(self) -> None:
        if self._error is not None:
            raise self._error
        await self._news.park()

    # -- what happened ----------------------------------------------------------------------------------------------

    def on_event(self, event: WatchEvent) -> None:
        path = event.path
        if event.kind is WatchKind.RESYNC:
            self.resyncs += 1
            self._reload = self._loading = True
        elif self._waits.get(event.kind) and path not in self._deleted:
            if not (path in self._dirty or any(path in later for later in self._later.values())):
                self._later[event.kind][path] = trio.current_time() + self._waits[event.kind]
        else:
            for later in self._later.values():
                later.pop(path, None)
            if event.kind is WatchKind.DELETED and event.zxid > 0:
                self._deleted[path] = event.zxid
                self._dirty.pop(path, None)
            else:
                self._dirty[path] = None
        self._work.unpark()

    def on_error(self, error: CoordError) -> None:
        self._error = error
        self._news.unpark_all()

    # -- keeping it current -----------------------------------------------------------------------------------------

    async def run(self, zk: TreeReader) -> None:
        """Follow the events for ever."""
        while True:
            self._take_due()
            if not (self._reload or self._dirty or self._deleted):
                self._busy = False
                self._news.unpark_all()
                await self._rest()
                continue
            self._busy = True
            try:
                if self._reload:
                    await self._load(zk)
                else:
                    await self._catch_up(zk)
            except SessionExpiredError:
                if not self._reload:
                    await self._work.park()  # until the new session's RESYNC, which makes us read everything again
            except KeeperError as error:
                log.info("reading %s again after: %s", self.root, error)
                self._reload = True
                await trio.sleep(_RETRY_S)

    async def _rest(self) -> None:
        """Until the next event, or until something has waited for long enough; each kind waits in its own order."""
        dues = [next(iter(later.values())) for later in self._later.values() if later]
        with trio.move_on_at(min(dues)) if dues else nullcontext():
            await self._work.park()

    def _take_due(self) -> None:
        """What has waited for long enough is to be read now."""
        if any(self._later.values()):
            now = trio.current_time()
            for later in self._later.values():
                for path in [path for path, due in later.items() if due <= now]:
                    del later[path]
                    self._dirty[path] = None

    async def _load(self, zk: TreeReader) -> None:
        """Read the whole subtree; what the copy has and the tree has not is gone."""
        self._reload = False
        found: set[str] = set()
        level = [self.root]
        while level:
            below: list[str] = []
            for start in range(0, len(level), _LOAD_CHUNK):
                chunk = level[start : start + _LOAD_CHUNK]
                for path, read in zip(chunk, await zk.read_with_children(chunk), strict=True):
                    if read is not None:
                        node, names = read
                        found.add(path)
                        self._take(path, node, self._deleted)
                        below.extend(join(path, name) for name in names)
                self._tell()
            level = below
        told = self._dirty.keys() | {path for later in self._later.values() for path in later}
        for path in [path for path in self._nodes if path not in found and path not in told]:
            self._drop(path)
        await self._catch_up(zk)
        self._loading = self._reload
        self._tell()

    async def _catch_up(self, zk: TreeReader) -> None:
        """Take over what the events told until now, all of it at once."""
        deleted, self._deleted = self._deleted, {}
        dirty, self._dirty = list(self._dirty), {}
        nodes = await zk.read_many(dirty) if dirty else []
        for path, zxid in deleted.items():
            known = self._nodes.get(path)
            if known is not None and known.stat.czxid <= zxid:
                self._drop(path)
        for path, node in zip(dirty, nodes, strict=True):
            if node is None:
                self._drop(path)
            else:
                self._take(path, node, self._deleted)
        self._tell()

    def _take(self, path: str, node: Node, deleted: dict[str, int]) -> None:
        """A read brought this; `deleted` is what was deleted since it was sent."""
        known = self._nodes.get(path)
        if node.stat.czxid <= deleted.get(path, -1):  # the root and ZooKeeper's own znodes have czxid 0
            return
        if known is not None and known.stat.mzxid > node.stat.mzxid:
            return
        self._nodes[path] = node
        if path != self.root:
            self._names.setdefault(parent_of(path), {})[name_of(path)] = None
        if known is None or known.stat.mzxid != node.stat.mzxid:
            self._record(path, known, node)

    def _drop(self, path: str) -> None:
        """It is gone, and with it what was below."""
        for name in tuple(self._names.get(path, ())):
            self._drop(join(path, name))
        known = self._nodes.pop(path, None)
        siblings = self._names.get(parent_of(path))
        if siblings is not None and path != self.root:
            siblings.pop(name_of(path), None)
            if not siblings:
                del self._names[parent_of(path)]
        if known is not None:
            self._record(path, known, None)

    def _record(self, path: str, old: Node | None, new: Node | None) -> None:
        earlier = self._changes.pop(path, None)
        if earlier is not None:
            old = earlier.old
        if old is not None or new is not None:
            self._changes[path] = CacheChange(path, old, new)

    def _tell(self) -> None:
        if self._changes or not self._loading:
            self._news.unpark_all()


@asynccontextmanager
async def open_cache(
    zk: TreeReader, path: str, *, wait_created: float = 0.0, wait_changed: float = 0.0
) -> AsyncIterator[TreeCache]:
    """See `Client.cache`."""
    cache = TreeCache(path, wait_created, wait_changed)
    async with background() as nursery, zk.watch_into(cache, path, recursive=True):
        nursery.start_soon(cache.run, zk)
        yield cache
