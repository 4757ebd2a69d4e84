"""Keeping one ephemeral znode in existence: "I am here", over the loss of sessions.

Who announces takes the path over: an ephemeral that another session left there, a predecessor's that died a moment ago,
is replaced in one transaction, so that nobody sees it missing. Later on only what is missing is put back; a znode that
another session has put there meanwhile is a successor's, and is left alone.

No signal of the session ends the block of `announced`: an ended session is healed in the background, and a write that
the end of the session left without an outcome is judged by a new read. Only the user's cancellation, or an error that
no new try can pass (a refused ACL), ends it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from coordserver.client.background import background
from coordserver.client.client import Client
from coordserver.client.errors import TransactionFailedError
from coordserver.client.values import WatchKind
from coordserver.client.watches import WatchStream
from coordserver.core.model.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
    ThrottledError,
)
from coordserver.core.model.paths import parent_of

log = logging.getLogger(__name__)

_RETRY_S = 0.2  # after the server asked for patience
_WITHDRAW_S = 1.0

_AGAIN = (SessionExpiredError, OutcomeUnknownError, ConnectionLossError)


class Announcement:
    """An ephemeral that is kept. Made by `announced`."""

    def __init__(self, zk: Client, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self._zk = zk
        self._changing = trio.Lock()
        self._rival = 0
        self._stood_in = 0

    @property
    def standing(self) -> bool:
        """Whether the znode is there, as far as we know, and owned by the session that we have now."""
        return self._zk.session_id != 0 and self._stood_in == self._zk.session_id

    async def update(self, data: bytes) -> None:
        """Announce other data. Where the znode is missing just now, it comes back with the new data."""
        self.data = data
        await self._settle(take_over=False)

    async def publish(self) -> None:
        """Announce for the first time, replacing whoever is there."""
        await self._settle(take_over=True)

    async def heal(self, events: WatchStream) -> None:
        """Put the znode back whenever it vanishes."""
        while True:
            batch = await events.next_batch()
            if any(event.kind in (WatchKind.DELETED, WatchKind.RESYNC) for event in batch):
                self._stood_in = 0
                await self._settle(take_over=False)

    async def withdraw(self) -> None:
        """Remove it, if it is ours."""
        async with self._changing:
            while True:
                stat = await self._zk.exists(self.path)
                if stat is None or stat.ephemeral_owner != self._zk.session_id:
                    return None
                try:
                    return await self._zk.delete(self.path, version=stat.version, missing_ok=True)
                except ConnectionLossError:
                    continue  # it is gone, or we try again

    async def _settle(self, *, take_over: bool) -> None:
        """Bring the tree to what is announced, however often sessions end meanwhile."""
        async with self._changing:
            while True:
                try:
                    if await self._attempt(take_over):
                        return
                except ThrottledError:
                    await trio.sleep(_RETRY_S)
                except _AGAIN as error:
                    log.info("announcing %s again: %s", self.path, error)

    async def _attempt(self, take_over: bool) -> bool:
        """One try; False where the tree changed under it."""
        zk, data = self._zk, self.data
        try:
            node = await zk.get(self.path)
        except NoNodeError:
            try:
                created = await zk.create(self.path, data, ephemeral=True, makepath=True)
            except NodeExistsError:
                return False
            self._stood_in = created.stat.ephemeral_owner
            return True
        owner = node.stat.ephemeral_owner
        try:
            if owner == zk.session_id:
                if node.data != data:
                    await zk.set(self.path, data)
                self._stood_in = owner
            elif take_over:
                exchange = zk.transaction().delete(self.path, node.stat.version)
                results = await exchange.create(self.path, data, ephemeral=True).commit()
                made = results[-1].stat
                self._stood_in = made.ephemeral_owner if made is not None else zk.session_id
            elif self._rival != owner:
                self._rival = owner
                log.warning("%s is announced by another session now (0x%x)", self.path, owner)
        except NoNodeError:
            return False
        except TransactionFailedError as failed:
            if not isinstance(failed.cause, (NoNodeError, NodeExistsError, BadVersionError)):
                raise
            return False
        return True


@asynccontextmanager
async def announced(zk: Client, path: str, data: bytes) -> AsyncIterator[Announcement]:
    """Keep an ephemeral znode at `path` for as long as the block lasts; missing parents are made, persistent."""
    announcement = Announcement(zk, path, data)
    await zk.ensure_path(parent_of(path))
    async with background() as nursery, zk.watch(path) as events:
        await announcement.publish()
        nursery.start_soon(announcement.heal, events)
        try:
            yield announcement
        finally:
            nursery.cancel_scope.cancel(reason="withdrawn")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _WITHDRAW_S):
                await _withdraw(announcement)


async def _withdraw(announcement: Announcement) -> None:
    try:
        await announcement.withdraw()
    except _AGAIN:
        log.debug("%s went with its session", announcement.path)
