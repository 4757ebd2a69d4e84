"""Electing one leader, in the layout of Curator's LeaderLatch, with a fencing number.

Each contender has an ephemeral sequential child `_c_{uuid}-latch-{sequence}` of the latch's path, its data the
participant's id; the lowest sequence leads, and everybody else waits for the deletion of the one before. Contenders of
Curator and of this module see each other. Two things differ: parents are persistent instead of containers, so that no
reaper takes them between two terms; and a term carries an `epoch`, the czxid of its znode, which rises from leader to
leader. Whoever is told something by a leader can refuse a lower epoch, and a write to the tree goes through
`term.check(transaction)`, so that a deposed leader's writes fail.

The `_c_{uuid}` prefix (Curator's "protection") is for servers that do not know a request again when it is sent twice: a
contender whose create was answered by a lost connection finds its znode by the uuid.

What ends the body of a term, and what the body sees of it:

- The latch znode is deleted while the session lives: the body is cancelled. A write that is sent after the deletion and
  before the cancellation fails at the fence: TransactionFailedError of index 0.
- The session ends: the client settles the body's pending calls (writes with OutcomeUnknownError or, of ZooKeeper,
  ConnectionLossError; reads with SessionExpiredError) and tells the new state in one turn of the event loop. The latch
  cancels the body when it hears the state. So a body that waits in one task sees its call fail and then, at its next
  checkpoint, the cancellation; a body with a nursery may see both at once, and raises a BaseExceptionGroup of
  CoordErrors and Cancelled. The order is not promised, and a body handles either alone and both together.
- Whoever runs the latch cancels it: the body is cancelled. What the body raises beside Cancelled comes out with it,
  unless it is a CoordError.

The latch takes the cancellation that is its own out of what the body raises, however deep in groups, and judges the
rest.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import NamedTuple, NoReturn

import trio

from coordserver.client.background import split_failure
from coordserver.client.client import Client
from coordserver.client.transaction import Transaction
from coordserver.client.values import Created
from coordserver.core.model.errors import (
    ConnectionLossError,
    CoordError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
    ThrottledError,
)
from coordserver.core.model.paths import join

log = logging.getLogger(__name__)

_MEMBER = re.compile(r"-latch-(\d{10})$")
_RESIGN_S = 1.0
_RETRY_S = 0.2

_UNTHROTTLED = (SessionExpiredError, OutcomeUnknownError, ConnectionLossError, NoNodeError)
_PASSING = (*_UNTHROTTLED, ThrottledError)


class Leader(NamedTuple):
    """Who leads: the id it gave, and its epoch."""

    participant: str
    epoch: int


class Term(NamedTuple):
    """One time of leading. `path` is the latch znode, `epoch` its czxid, `sequence` the number in its name."""

    path: str
    epoch: int
    sequence: int

    def check(self, transaction: Transaction) -> Transaction:
        """Make the transaction fail unless this term still lasts. Call it first, so that a failure has index 0."""
        return transaction.check(self.path)


class LeaderLatch:
    """One contender."""

    def __init__(self, zk: Client, parent: str, participant: str) -> None:
        self.parent = parent
        self.participant = participant
        self.term: Term | None = None
        self._zk = zk

    async def run(self, body: Callable[[Term], Awaitable[None]]) -> NoReturn:
        """Contend for ever; run `body(term)` whenever we lead.

        The body is cancelled when the term is over: the session has ended, or the latch znode is gone. When it returns,
        the latch is given up and contended for anew. An exception of the body ends the latch and comes out, unless it
        is a CoordError and the term was over, or a passing one (a lost connection, a throttled server): then the latch
        is contended for anew. A group of such errors counts as one. A group of one error comes out as that error.
        """
        while True:
            try:
                mine = await self._enter()
                try:
                    await self._await_turn(mine)
                    await self._lead(mine, body)
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + _RESIGN_S) as resigning:
                        await self._resign(mine)
                    if resigning.cancelled_caught:  # without it a session that survives would keep its place for ever
                        self._zk.delete_soon(mine.path)
            except Exception as error:
                if not _consists_of(error, _PASSING):
                    raise
                log.info("contending for %s again: %s", self.parent, error)
                await trio.sleep(0 if _consists_of(error, _UNTHROTTLED) else _RETRY_S)

    async def _enter(self) -> Created:
        zk = self._zk
        await zk.ensure_path(self.parent)
        protection = f"_c_{uuid.uuid4()}"
        prefix = join(self.parent, f"{protection}-latch-")
        try:
            return await zk.create(prefix, self.participant.encode(), ephemeral=True, sequence=True)
        except ConnectionLossError as error:
            lost = error
        for name in await zk.children(self.parent):
            if name.startswith(protection):
                path = join(self.parent, name)
                return Created(path, (await zk.get(path)).stat)
        raise lost

    async def _await_turn(self, mine: Created) -> None:
        """Return when we are first, or raise NoNodeError when our znode is gone."""
        while True:
            members = await _members(self._zk, self.parent)
            if mine.path not in members:
                raise NoNodeError(mine.path, "our place in the queue is gone")
            place = members.index(mine.path)
            if place == 0:
                return
            async with trio.open_nursery() as nursery:
                for path in (members[place - 1], mine.path):
                    nursery.start_soon(self._until_deleted, path, nursery.cancel_scope)

    async def _until_deleted(self, path: str, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the znode is gone, and surely when the session is: with it our ephemeral went."""
        await self._zk.wait_deleted(path)
        scope.cancel(reason=f"{path} is gone")

    async def _lead(self, mine: Created, body: Callable[[Term], Awaitable[None]]) -> None:
        term = Term(mine.path, mine.stat.czxid, _sequence(mine.path))
        session_number = self._zk.session_number
        log.info("%s leads %s, epoch %d", self.participant, self.parent, term.epoch)
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_deleted, term.path, nursery.cancel_scope)
                nursery.start_soon(self._until_session_ends, session_number, nursery.cancel_scope)
                self.term = term
                await body(term)
                nursery.cancel_scope.cancel(reason="the body has returned")
        except BaseException as error:  # noqa: ASYNC103 - the nursery has kept its own cancellation; others rise
            failure, rest = split_failure(error)
            if rest is not None and (failure is None or _consists_of(failure, (CoordError,))):
                raise rest from None  # noqa: ASYNC104 - it holds each Cancelled
            if rest is not None:
                raise
        finally:
            self.term = None
        if failure is not None and not (
            _consists_of(failure, (CoordError,)) and await self._is_over(term, session_number)
        ):
            raise failure
        log.info("%s no longer leads %s, epoch %d", self.participant, self.parent, term.epoch)

    async def _until_session_ends(self, number: int, scope: trio.CancelScope) -> None:
        async with self._zk.states() as states:
            async for _ in states:
                if not self._in_session(number):
                    scope.cancel(reason="the session has ended")

    def _in_session(self, number: int) -> bool:
        return self._zk.session_number == number and self._zk.session_id != 0

    async def _is_over(self, term: Term, session_number: int) -> bool:
        if not self._in_session(session_number):
            return True
        try:
            return await self._zk.exists(term.path) is None
        except _PASSING:
            return True

    async def _resign(self, mine: Created) -> None:
        """Let the next one lead at once; harmless where the znode is gone already."""
        while True:
            try:
                return await self._zk.delete(mine.path, missing_ok=True)
            except (ThrottledError, ConnectionLossError):
                await trio.sleep(_RETRY_S)
            except CoordError as error:  # the session has ended, and our znode with it
                log.debug("resigning from %s: %s", self.parent, error)
                return None


async def leader(zk: Client, parent: str) -> Leader | None:
    """Who leads at `parent` now, if anybody does."""
    while True:
        try:
            members = await _members(zk, parent)
        except NoNodeError:
            return None
        if not members:
            return None
        try:
            data, stat = await zk.get(members[0])
        except NoNodeError:
            continue
        return Leader(data.decode(), stat.czxid)


async def _members(zk: Client, parent: str) -> list[str]:
    """The contenders' paths, the leader's first."""
    return sorted((join(parent, name) for name in await zk.children(parent) if _MEMBER.search(name)), key=_sequence)


def _sequence(path: str) -> int:
    found = _MEMBER.search(path)
    assert found is not None, path
    return int(found[1])


def sequence_of(name: str) -> int | None:
    """The sequence number in a contender's name or path, None where it is no contender."""
    found = _MEMBER.search(name)
    return int(found[1]) if found is not None else None


def _consists_of(error: Exception, kinds: tuple[type[Exception], ...]) -> bool:
    """Whether the error, or each error in the group, is of one of the kinds."""
    if isinstance(error, ExceptionGroup):
        return all(_consists_of(part, kinds) for part in error.exceptions)
    return isinstance(error, kinds)
