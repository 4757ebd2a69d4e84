"""The client: ZooKeeper's operations as trio calls.

Every call waits as long as it takes, over reconnects; whoever wants less puts it in a cancel scope. Cancelling a write
does not unsend it. All paths are absolute, all data is bytes, versions default to -1: any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

import trio

from coordserver.client.recipes.tree_cache import TreeCache, open_cache
from coordserver.client.session import Session
from coordserver.client.states import StateStream
from coordserver.client.transaction import Transaction, checked_path, create_mode, plain_acl
from coordserver.client.values import Created, Node, SessionState
from coordserver.client.watches import WatchSink, WatchStream
from coordserver.core.acl import ACL
from coordserver.core.errors import (
    ConnectionLossError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    ThrottledError,
    UnimplementedError,
)
from coordserver.core.operations import Op
from coordserver.core.paths import join, parent_of
from coordserver.core.stat import Stat

_THROTTLED_S = 0.2
_DELETE_ROUNDS = 20  # a tree in which others create faster than we delete is given up after these


class Client:
    """A session and what can be asked of it. Made by `connect`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- the session ------------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> int:
        """0 while there is none."""
        return self._session.session_id

    @property
    def session_password(self) -> bytes:
        return self._session.password

    @property
    def session_timeout_ms(self) -> int:
        """What the server granted."""
        return self._session.timeout_ms

    @property
    def session_number(self) -> int:
        """1 in the first session, one more each time a new session replaces one that ended."""
        return self._session.number

    @property
    def state(self) -> SessionState:
        return self._session.board.state

    @asynccontextmanager
    async def states(self) -> AsyncIterator[StateStream]:
        """A stream of session states, beginning with the present one."""
        with self._session.board.listen() as stream:
            yield stream

    async def add_auth(self, scheme: str, auth: bytes) -> None:
        """Show credentials (`"digest", b"user:password"`), here and on every further connection.

        Raises AuthFailedError.
        """
        await self._session.add_auth(scheme, auth)

    def listen(self) -> AbstractContextManager[StateStream]:
        """`states` for those who need no `async with`."""
        return self._session.board.listen()

    # -- znodes -----------------------------------------------------------------------------------------------------

    async def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl_ms: int = 0,
        acl: Sequence[ACL] | None = None,
        makepath: bool = False,
    ) -> Created:
        """Create a znode; `makepath` creates missing parents, persistent.

        Raises NodeExistsError; NoNodeError without the parent; NoChildrenForEphemeralsError, InvalidACLError, ...
        """
        mode = create_mode(ephemeral, sequence, container, ttl_ms > 0)
        entries = plain_acl(self._session.default_acl if acl is None else acl)
        arguments = (checked_path(path), bytes(data), entries, int(mode), ttl_ms)
        while True:
            try:
                call = await self._session.request(Op.CREATE, arguments, size=len(data))
            except NoNodeError:
                if not makepath:
                    raise
                await self.ensure_path(parent_of(path))
            else:
                return Created(*call.result)

    async def delete(self, path: str, *, version: int = -1, missing_ok: bool = False) -> None:
        """Delete a znode without children. Raises NoNodeError unless `missing_ok`, BadVersionError, NotEmptyError."""
        try:
            await self._session.request(Op.DELETE, (checked_path(path), version))
        except NoNodeError:
            if not missing_ok:
                raise

    def delete_soon(self, path: str) -> None:
        """Delete without waiting, as soon as there is a connection; what came of it is not told. For leaving."""
        self._session.post(Op.DELETE, (checked_path(path), -1))

    async def exists(self, path: str) -> Stat | None:
        """The Stat, or None."""
        try:
            call = await self._session.request(Op.EXISTS, (checked_path(path), False))
        except NoNodeError:
            return None
        stat: Stat = call.result[0]
        return stat

    async def get(self, path: str) -> Node:
        """Data and Stat. Raises NoNodeError."""
        data, stat = (await self._session.request(Op.GET_DATA, (checked_path(path), False))).result
        return Node(data or b"", stat)

    async def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Replace the data. Raises NoNodeError, BadVersionError."""
        arguments = (checked_path(path), bytes(data), version)
        stat: Stat = (await self._session.request(Op.SET_DATA, arguments, size=len(data))).result[0]
        return stat

    async def children(self, path: str) -> list[str]:
        """The names of the children, sorted. Raises NoNodeError."""
        return sorted((await self._session.request(Op.GET_CHILDREN2, (checked_path(path), False))).result[0])

    async def ensure_path(self, path: str) -> None:
        """Create what is missing of the path, persistent and empty."""
        missing = [checked_path(path)]
        while missing:
            if missing[-1] == "/":
                missing.pop()
                continue
            try:
                await self.create(missing[-1])
            except NoNodeError:
                missing.append(parent_of(missing[-1]))
                continue
            except ConnectionLossError:
                continue  # it is there, or we make it now
            except NodeExistsError:
                pass
            missing.pop()

    async def sync(self, path: str = "/") -> None:
        """Wait until this server knows all that was committed when the call began."""
        await self._session.request(Op.SYNC, (checked_path(path),))

    async def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        """The ACL and the Stat. Raises NoNodeError."""
        acl, stat = (await self._session.request(Op.GET_ACL, (checked_path(path),))).result
        return list(acl), stat

    async def set_acl(self, path: str, acl: Sequence[ACL], *, version: int = -1) -> Stat:
        """Replace the ACL; `version` is the aversion. Raises NoNodeError, BadVersionError, InvalidACLError."""
        arguments = (checked_path(path), plain_acl(acl), version)
        stat: Stat = (await self._session.request(Op.SET_ACL, arguments)).result[0]
        return stat

    async def delete_tree(self, path: str) -> None:
        """Delete a znode and everything below it, children first; a missing one is fine.

        The server does it, at most 10,000 znodes at a time, each time all or nothing; over ZooKeeper's protocol it is
        done one by one. Raises BadArgumentsError for `/` and ZooKeeper's own znodes, NoAuthError where a parent does
        not let its children be deleted, NotEmptyError if others keep creating below it.
        """
        finished = False
        try:
            while not finished:
                _, finished = (await self._session.request(Op.DELETE_TREE, (checked_path(path),))).result
        except NoNodeError:
            return
        except UnimplementedError:
            await self._delete_one_by_one(path)

    async def _delete_one_by_one(self, path: str) -> None:
        for round_number in range(_DELETE_ROUNDS):
            try:
                for victim in reversed(await self._paths_below(checked_path(path))):
                    if victim != "/":
                        await self.delete(victim, missing_ok=True)
            except NotEmptyError:
                if round_number == _DELETE_ROUNDS - 1:
                    raise
            else:
                return

    async def _paths_below(self, path: str) -> list[str]:
        found = [path]
        for parent in found:
            try:
                found.extend(join(parent, name) for name in await self.children(parent))
            except NoNodeError:
                continue
        return found

    def transaction(self) -> Transaction:
        """Several operations that take effect together."""
        return Transaction(self._session)

    # -- watching ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(self, path: str, *, recursive: bool = False) -> AsyncIterator[WatchStream]:
        """A stream of what happens to the znode, whether or not it exists, from here on; `recursive`, to its subtree.

        A recursive stream tells of creations, deletions and data changes; the other one of its children's coming and
        going too. The stream survives reconnects without a gap; where events may be missing it says RESYNC.
        """
        stream = WatchStream(path)
        async with self.watch_into(stream, path, recursive=recursive):
            yield stream

    @asynccontextmanager
    async def watch_into(self, sink: WatchSink, path: str, *, recursive: bool = False) -> AsyncIterator[None]:
        """`watch` for those who bring their own sink."""
        watch = await self._session.watch(sink, checked_path(path), recursive=recursive)
        try:
            yield
        finally:
            self._session.unwatch(sink, watch)

    async def wait_deleted(self, path: str) -> None:
        """Return once the znode does not exist. Survives reconnects and the loss of the session."""
        async with self.watch(path) as events:
            while True:
                try:
                    if await self.exists(path) is None:
                        return
                except (SessionExpiredError, ConnectionLossError):
                    continue
                except ThrottledError:
                    await trio.sleep(_THROTTLED_S)
                    continue
                await events.next_batch()

    def cache(
        self, path: str, *, wait_created: float = 0.0, wait_changed: float = 0.0
    ) -> AbstractAsyncContextManager[TreeCache]:
        """A copy of the subtree that is kept current while the block lasts.

        What was created, or changed, may wait so many seconds until it is read: what is deleted meanwhile is spared.
        """
        return open_cache(self, checked_path(path), wait_created=wait_created, wait_changed=wait_changed)

    # -- many at once -----------------------------------------------------------------------------------------------

    async def read_many(self, paths: Sequence[str]) -> list[Node | None]:
        """`get` for each path, all under way together; None for what does not exist or may not be read."""
        results = await self._many([(Op.GET_DATA, path) for path in paths])
        return [_node(result) for result in results]

    async def read_with_children(self, paths: Sequence[str]) -> list[tuple[Node, list[str]] | None]:
        """Data, Stat and the names of the children of each path, all under way together; None as in `read_many`."""
        results = await self._many([(op, path) for path in paths for op in (Op.GET_DATA, Op.GET_CHILDREN2)])
        found: list[tuple[Node, list[str]] | None] = []
        for data, listing in zip(results[::2], results[1::2], strict=True):
            node = _node(data)
            found.append(None if node is None else (node, sorted(listing[0]) if listing else []))
        return found

    async def _many(self, reads: Sequence[tuple[Op, str]]) -> list[tuple[Any, ...] | None]:
        calls = [await self._session.start(op, (path, False)) for op, path in reads]
        results: list[tuple[Any, ...] | None] = []
        for call in calls:
            await call.wait()
            if call.error is None:
                results.append(call.result)
            elif isinstance(call.error, (NoNodeError, NoAuthError)):
                results.append(None)
            else:
                raise call.error
        return results


def _node(result: tuple[Any, ...] | None) -> Node | None:
    return None if result is None else Node(result[0] or b"", result[1])
