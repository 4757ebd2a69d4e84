"""From a cache of a subtree to a model: every znode decoded once per version, garbage reported and skipped.

The cache tells changes one path at a time, coalesced. A follower first takes the whole of a synced cache, then its
changes; a znode whose czxid and mzxid it has already taken is passed over, so it does not matter how much of the
initial state the cache tells again. In each group of changes additions come before removals: a segment that moves from
one batch to another, or a server that announces itself anew, is never seen absent in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

import trio

from coordserver.client import Client
from coordserver.client.background import background
from coordserver.client.recipes.tree_cache import CacheChange, TreeCache
from coordserver.client.values import Node
from druidroles.coordination.changes import Revision
from druidroles.model.decode import ModelError

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Called with the path relative to the root, in parts, and the znode, or None where it has gone.
Take = Callable[[tuple[str, ...], Node | None], None]


def decoded(path: str, node: Node | None, read: Callable[[bytes], T]) -> T | None:
    """What `read` makes of a znode's data; None where there is no znode, or garbage in it, which is logged."""
    if node is None:
        return None
    try:
        return read(node.data)
    except ModelError as error:
        logger.warning("skipping znode %s: %s", path, error)
        return None


def _order(change: CacheChange) -> int:
    """What came first, what changed next, what went last."""
    return 0 if change.old is None else 2 if change.new is None else 1


class Follower:
    """Feeds one cache's znodes below its root to `take`."""

    def __init__(self, cache: TreeCache, root: str, take: Take) -> None:
        self._cache = cache
        self._prefix = root.rstrip("/") + "/"
        self._take = take
        self._taking = trio.Lock()
        self._taken: dict[str, tuple[int, int]] = {}

    async def run(self, synced: Callable[[], None], changed: Callable[[], None]) -> None:
        """Follow for ever. `synced` is called once, when all that was there has been taken; `changed` after changes."""
        await self._cache.wait_synced()
        for path in list(self._cache.paths()):
            self._offer(path, self._cache.get(path))
            # One znode may hold 50 segments, about a millisecond of decoding; others want the loop too.
            await trio.lowlevel.checkpoint()
        synced()
        changed()
        while True:
            changes = await self._cache.next_changes()
            async with self._taking:
                for change in sorted(changes, key=_order):
                    self._offer(change.path, change.new)
                    await trio.lowlevel.checkpoint()
            changed()

    async def caught_up(self) -> None:
        """Wait until all that the cache has been told of is taken."""
        await self._cache.wait_settled()
        async with self._taking:
            pass

    def _offer(self, path: str, node: Node | None) -> None:
        if not path.startswith(self._prefix):
            return
        if node is None:
            if self._taken.pop(path, None) is None:
                return
        else:
            version = (node.stat.czxid, node.stat.mzxid)
            if self._taken.get(path, (0, 0)) >= version:
                return
            self._taken[path] = version
        self._take(tuple(path[len(self._prefix) :].split("/")), node)


class View:
    """A model of one or more subtrees, kept up to date while its `async with` block runs.

    A subclass names its subtrees in `_roots`, each with the function that takes its znodes. `revision` rises with every
    group of changes. Nothing is claimed before the initial state is complete: `synced` is False, `wait_synced` waits.
    """

    wait_created = wait_changed = 0.0  # see Client.cache

    def __init__(self, zk: Client) -> None:
        self.revision = Revision()
        self._zk = zk
        self._stack = AsyncExitStack()
        self._followers: list[Follower] = []
        self._unsynced = 0
        self._all_synced = trio.Event()

    def _roots(self) -> Sequence[tuple[str, Take]]:
        raise NotImplementedError

    @property
    def synced(self) -> bool:
        """Whether the initial state has been taken whole. It stays so: changes during an outage are taken after it."""
        return self._all_synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until `synced`."""
        await self._all_synced.wait()

    async def wait_current(self) -> None:
        """Wait until the model shows everything that the client has been told of.

        After `zk.sync()` that is all that was committed when it was called; after a connection was lost, all that
        happened meanwhile. `synced` alone does not say so: what a view has taken once, it keeps through an outage.
        """
        await self.wait_synced()
        for follower in self._followers:
            await follower.caught_up()

    async def changed(self, seen: int | None = None) -> int:
        """Wait until `revision.value` is beyond `seen` (by default: beyond what it is now); returns it."""
        return await self.revision.passed(seen)

    async def __aenter__(self) -> Self:
        roots = self._roots()
        self._unsynced = len(roots)
        async with AsyncExitStack() as stack:
            caches = [await stack.enter_async_context(self._cache(root)) for root, _ in roots]
            nursery = await stack.enter_async_context(background())
            self._followers = [Follower(c, root, take) for c, (root, take) in zip(caches, roots, strict=True)]
            for follower in self._followers:
                nursery.start_soon(follower.run, self._one_synced, self.revision.bump)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - each exit in it sees to itself

    def _cache(self, root: str) -> AbstractAsyncContextManager[TreeCache]:
        return self._zk.cache(root, wait_created=self.wait_created, wait_changed=self.wait_changed)

    def _one_synced(self) -> None:
        self._unsynced -= 1
        if self._unsynced == 0:
            self._all_synced.set()
