"""The client: ZooKeeper's operations as asynchronous methods.

A call waits for its reply without a time limit, also during reconnects. Use a cancel scope for a time limit. A write
may still take effect after its call was cancelled. All paths are absolute and all data is bytes. Version -1, the
default, matches any version.
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
from coordserver.core.model.acl import ACL
from coordserver.core.model.errors import (
    ConnectionLossError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
    ThrottledError,
    UnimplementedError,
)
from coordserver.core.model.operations import Op
from coordserver.core.model.paths import join, parent_of
from coordserver.core.model.stat import Stat

_THROTTLED_S = 0.2  # the delay of a retry after ThrottledError
_DELETE_ROUNDS = 20  # the limit of retries when other clients create znodes faster than this one deletes them


class Client:
    """A session and its operations. `connect` creates it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- the session ------------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> int:
        """The id of the session, 0 while there is none."""
        return self._session.session_id

    @property
    def session_password(self) -> bytes:
        return self._session.password

    @property
    def session_timeout_ms(self) -> int:
        """The session timeout that the server granted, in milliseconds."""
        return self._session.timeout_ms

    @property
    def session_number(self) -> int:
        """The number of sessions so far: 1 in the first session, 2 in the one that replaces it after its end."""
        return self._session.number

    @property
    def state(self) -> SessionState:
        return self._session.board.state

    @asynccontextmanager
    async def states(self) -> AsyncIterator[StateStream]:
        """Yield a stream of session states, which begins with the current state."""
        with self._session.board.listen() as stream:
            yield stream

    async def add_auth(self, scheme: str, auth: bytes) -> None:
        """Authenticate with credentials such as `"digest", b"user:password"`, now and on every later connection.

        Raises AuthFailedError if the server refuses them.
        """
        await self._session.add_auth(scheme, auth)

    def listen(self) -> AbstractContextManager[StateStream]:
        """Return a synchronous context manager that does the same as `states`."""
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
        """Create a znode. `makepath` creates missing parents as persistent znodes. `ttl_ms` is in milliseconds.

        Raises NodeExistsError, NoNodeError if the parent is missing, NoChildrenForEphemeralsError, InvalidACLError, and
        ValueError for flags that exclude each other.
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
        """Queue the deletion of a znode and return at once. The result is not reported.

        The request is sent when there is a connection. It is meant for cleanup when a task ends.
        """
        self._session.post(Op.DELETE, (checked_path(path), -1))

    async def exists(self, path: str) -> Stat | None:
        """Return the Stat of a znode, or None if it does not exist."""
        try:
            call = await self._session.request(Op.EXISTS, (checked_path(path), False))
        except NoNodeError:
            return None
        stat: Stat = call.result[0]
        return stat

    async def get(self, path: str) -> Node:
        """Return data and Stat of a znode. Raises NoNodeError."""
        data, stat = (await self._session.request(Op.GET_DATA, (checked_path(path), False))).result
        return Node(data or b"", stat)

    async def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode and return its new Stat. Raises NoNodeError, BadVersionError."""
        arguments = (checked_path(path), bytes(data), version)
        stat: Stat = (await self._session.request(Op.SET_DATA, arguments, size=len(data))).result[0]
        return stat

    async def children(self, path: str) -> list[str]:
        """Return the names of the children, sorted. Raises NoNodeError."""
        return sorted((await self._session.request(Op.GET_CHILDREN2, (checked_path(path), False))).result[0])

    async def ensure_path(self, path: str) -> None:
        """Create the missing znodes of a path as empty persistent znodes."""
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
                continue  # the create may have succeeded; try it again
            except NodeExistsError:
                pass
            missing.pop()

    async def sync(self, path: str = "/") -> None:
        """Wait until the connected server has applied all changes that were committed before the call."""
        await self._session.request(Op.SYNC, (checked_path(path),))

    async def get_acl(self, path: str) -> tuple[list[ACL], Stat]:
        """Return ACL and Stat of a znode. Raises NoNodeError."""
        acl, stat = (await self._session.request(Op.GET_ACL, (checked_path(path),))).result
        return list(acl), stat

    async def set_acl(self, path: str, acl: Sequence[ACL], *, version: int = -1) -> Stat:
        """Replace the ACL of a znode and return its new Stat. `version` is compared with the aversion.

        Raises NoNodeError, BadVersionError, InvalidACLError.
        """
        arguments = (checked_path(path), plain_acl(acl), version)
        stat: Stat = (await self._session.request(Op.SET_ACL, arguments)).result[0]
        return stat

    async def delete_tree(self, path: str) -> None:
        """Delete a znode and its whole subtree, children first. A missing znode is not an error.

        The server deletes up to 10,000 znodes in one atomic step, and repeats the step until all are deleted. Over
        ZooKeeper's protocol the client deletes the znodes one by one.

        Raises BadArgumentsError for `/` and ZooKeeper's own znodes, NoAuthError if the ACL of a parent does not permit
        the deletion of its children, NotEmptyError if other clients keep creating znodes in the subtree.
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
                for found in reversed(await self._list_subtree(checked_path(path))):
                    if found != "/":
                        await self.delete(found, missing_ok=True)
            except NotEmptyError:
                if round_number == _DELETE_ROUNDS - 1:
                    raise
            else:
                return

    async def _list_subtree(self, path: str) -> list[str]:
        found = [path]
        for parent in found:
            try:
                found.extend(join(parent, name) for name in await self.children(parent))
            except NoNodeError:
                continue
        return found

    def transaction(self) -> Transaction:
        """Return a new transaction: operations that take effect together or not at all."""
        return Transaction(self._session)

    # -- watching ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(self, path: str, *, recursive: bool = False) -> AsyncIterator[WatchStream]:
        """Yield a stream of the events of a znode, which need not exist, or of its subtree if `recursive` is true.

        A recursive stream reports creations, deletions and data changes. The other one also reports when a child is
        created or deleted. The stream continues after reconnects. If events may be missing, it reports RESYNC.
        """
        stream = WatchStream(path)
        async with self.watch_into(stream, path, recursive=recursive):
            yield stream

    @asynccontextmanager
    async def watch_into(self, sink: WatchSink, path: str, *, recursive: bool = False) -> AsyncIterator[None]:
        """Deliver the events that `watch` reports to `sink` while the block runs."""
        watch = await self._session.watch(sink, checked_path(path), recursive=recursive)
        try:
            yield
        finally:
            self._session.unwatch(sink, watch)

    async def wait_deleted(self, path: str) -> None:
        """Wait until a znode does not exist. The call continues after reconnects and in a new session."""
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
        """Return a context manager for a copy of the subtree, which is kept up to date while the block runs.

        The cache reads a created znode after `wait_created` seconds, a changed one after `wait_changed` seconds. A
        delay saves the reads of znodes that are deleted in the meantime.
        """
        return open_cache(self, checked_path(path), wait_created=wait_created, wait_changed=wait_changed)

    # -- many at once -----------------------------------------------------------------------------------------------

    async def read_many(self, paths: Sequence[str]) -> list[Node | None]:
        """Read data and Stat of several znodes with concurrent requests.

        The result has None for each znode that does not exist or may not be read.
        """
        results = await self._read_all([(Op.GET_DATA, path) for path in paths])
        return [_to_node(result) for result in results]

    async def read_with_children(self, paths: Sequence[str]) -> list[tuple[Node, list[str]] | None]:
        """Read data, Stat and sorted names of the children of several znodes, otherwise like `read_many`."""
        results = await self._read_all([(op, path) for path in paths for op in (Op.GET_DATA, Op.GET_CHILDREN2)])
        found: list[tuple[Node, list[str]] | None] = []
        for data, listing in zip(results[::2], results[1::2], strict=True):
            node = _to_node(data)
            found.append(None if node is None else (node, sorted(listing[0]) if listing else []))
        return found

    async def _read_all(self, reads: Sequence[tuple[Op, str]]) -> list[tuple[Any, ...] | None]:
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


def _to_node(result: tuple[Any, ...] | None) -> Node | None:
    return None if result is None else Node(result[0] or b"", result[1])
