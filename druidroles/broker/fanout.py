"""Answering a query from many servers, and healing what fails on the way (Druid's CachingClusteredClient and
RetryQueryRunner).

The pieces of the query are shared out among the servers that serve them, one request each; the answers are merged as
they come, each only once it is there whole, so that a server which dies in the middle of its answer has contributed
nothing. Pieces that a server did not have, or whose server failed, are asked of another one within the query.

What is missing after that may have moved in between: the used segments are read anew and the query starts over with
what shows now, a bounded number of times. Then it fails, or is marked partial where the query allows it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import attrs
import httpx2
import trio

from druidroles.broker.answer import AnswerLimits
from druidroles.broker.data_server_client import Answer, ServerFailedError, ask
from druidroles.broker.segment_lookup import Piece, plan
from druidroles.broker.server_health import ServerChoice
from druidroles.broker.view import BrokerView
from druidroles.http.metrics import Metrics
from druidroles.model.segment import SegmentDescriptor
from druidroles.model.server import DruidServerMetadata
from druidroles.query.errors import QueryError, QueryFailedError, QueryTimeoutError, SegmentMissingError
from druidroles.query.merge import Merger, merger
from druidroles.query.model import Query
from druidroles.query.steps import take_turns

log = logging.getLogger(__name__)

CONCURRENT = 25  # queries; others wait their turn, within their own timeout
TRIES = 3  # servers asked for one piece before it counts as missing
RESTARTS = 2  # of a query some of whose pieces are missing
PIECES_PER_REQUEST = 5_000  # half a megabyte of JSON, which is made in one go
PIECES_AT_ONCE = 500  # shared out before others have their turn
REFRESH_S = 2.0  # how long a query with missing pieces waits for a reading of the used segments
GONE_GRACE_S = 3.0  # for a server that took back its announcement to finish what it was asked


class Servers(Protocol):
    """Who is announced (a ServerInventory)."""

    @property
    def servers(self) -> Mapping[str, DruidServerMetadata]:
        """Announced servers by name."""
        ...

    async def changed(self, seen: int | None = None) -> int:
        """Wait for a change."""
        ...


@attrs.define
class _Attempt:
    """One way through a query."""

    query: Query
    merging: Merger
    deadline: float
    missing: list[Piece] = attrs.field(factory=list)
    tried: dict[Piece, set[str]] = attrs.field(factory=dict)
    failed: list[Piece] = attrs.field(factory=list)
    error: QueryError | None = None
    refusal: QueryError | None = None


class FanOut:
    """Answers queries with the help of data servers."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        view: BrokerView,
        servers: Servers,
        refresh: Callable[[], Awaitable[None]],
        *,
        choice: ServerChoice | None = None,
        metrics: Metrics | None = None,
        limits: AnswerLimits | None = None,
    ) -> None:
        """`refresh` waits for a reading of the used segments that begins now, however long that takes."""
        self.choice = choice or ServerChoice()
        self._node_time = (metrics or Metrics()).timer("query/node/time", "how long data servers took for their parts")
        self._limiter = trio.CapacityLimiter(CONCURRENT)
        self._http = http
        self._limits = limits or AnswerLimits()
        self._view = view
        self._servers = servers
        self._refresh = refresh

    async def answer(self, query: Query, *, partial: bool = False) -> Answer:
        """The answer; with `partial`, one that lacks segments names them. Raises QueryError."""
        deadline = trio.current_time() + query.timeout_ms / 1000
        with trio.CancelScope(deadline=deadline):
            async with self._limiter:
                return await self._answer(query, deadline, partial)
        raise QueryTimeoutError(query.timeout_ms)

    async def _answer(self, query: Query, deadline: float, partial: bool) -> Answer:
        for restart in range(RESTARTS + 1):
            attempt = await self._attempt(query, deadline)
            if not attempt.missing:
                break
            log.info("query %s: %s", query.query_id, _describe(attempt.missing))
            if restart == RESTARTS or not await self._may_heal(attempt):
                if not partial:
                    raise attempt.refusal or SegmentMissingError(_describe(attempt.missing))
                break
        results = await take_turns(attempt.merging.finish())
        return Answer(results, [piece.descriptor for piece in attempt.missing])

    async def _may_heal(self, attempt: _Attempt) -> bool:
        """Whether starting over promises more: nothing that shows now is without a server."""
        with trio.move_on_after(REFRESH_S):
            await self._refresh()
        pieces = await plan(attempt.query, self._view)
        return all(piece.selector is not None and piece.selector.servers for piece in pieces)

    async def _attempt(self, query: Query, deadline: float) -> _Attempt:
        attempt = _Attempt(query, merger(query), deadline)
        pending = await plan(query, self._view)
        for _ in range(TRIES):
            groups = await self._share_out(pending, attempt)
            attempt.failed = []
            async with trio.open_nursery() as nursery:
                for server, pieces in groups.items():
                    for at in range(0, len(pieces), PIECES_PER_REQUEST):
                        nursery.start_soon(
                            self._ask, server, pieces[at : at + PIECES_PER_REQUEST], attempt, nursery.cancel_scope
                        )
            if attempt.error is not None:
                raise attempt.error
            pending = attempt.failed
            if not pending:
                return attempt
        attempt.missing += pending
        return attempt

    async def _share_out(self, pieces: Sequence[Piece], attempt: _Attempt) -> dict[str, list[Piece]]:
        """A server for each piece, which then counts as under way; those for which there is none are missing."""
        groups: dict[str, list[Piece]] = {}
        try:
            for at in range(0, len(pieces), PIECES_AT_ONCE):
                await trio.lowlevel.checkpoint()
                for piece in pieces[at : at + PIECES_AT_ONCE]:
                    self._place(piece, groups, attempt)
        except trio.Cancelled:
            for server, placed in groups.items():
                self.choice.done(server, len(placed))
            raise
        return groups

    def _place(self, piece: Piece, groups: dict[str, list[Piece]], attempt: _Attempt) -> None:
        names = () if piece.selector is None else piece.selector.servers
        tried = attempt.tried.setdefault(piece, set())
        server = self.choice.choose(names, self._servers.servers, trio.current_time(), tried)
        if server is None:
            attempt.missing.append(piece)
            return
        tried.add(server)
        groups.setdefault(server, []).append(piece)
        self.choice.sent(server)

    async def _ask(self, server: str, pieces: Sequence[Piece], attempt: _Attempt, others: trio.CancelScope) -> None:
        """Ask one server and merge its answer; a query that is refused ends the others too."""
        try:
            with self._node_time.time(server=server):
                answer = await self._exchange(server, pieces, attempt)
            self.choice.worked(server)
        except ServerFailedError as fault:
            log.warning("query %s: %s failed, %d pieces: %s", attempt.query.query_id, server, len(pieces), fault)
            if fault.blame:
                self.choice.failed(server, trio.current_time())
            attempt.refusal = fault.refusal or attempt.refusal
            attempt.failed += pieces
            return
        except QueryError as refusal:
            attempt.error = attempt.error or refusal
            others.cancel(reason="the query is refused")
            return
        finally:
            self.choice.done(server, len(pieces))
        gone = set(answer.missing)
        attempt.failed += [piece for piece in pieces if piece.descriptor in gone]
        try:
            await take_turns(attempt.merging.add(answer.results))
        except QueryError as limit:
            attempt.error = attempt.error or limit
            others.cancel(reason="the answer is too big")
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            # It is half merged already, so the query cannot go on without it.
            attempt.error = QueryFailedError(f"the answer of {server} cannot be merged: {fault!r}")
            others.cancel(reason="an answer cannot be merged")

    async def _exchange(self, server: str, pieces: Sequence[Piece], attempt: _Attempt) -> Answer:
        """`ask`, given up when the server has gone from the tree."""
        metadata = self._servers.servers.get(server)
        if metadata is None:
            raise ServerFailedError("it is not announced any more", blame=False)
        left_ms = max(1, int((attempt.deadline - trio.current_time()) * 1000))
        body = attempt.query.for_segments([piece.descriptor for piece in pieces], left_ms)
        outcome: Answer | Exception = ServerFailedError("it went while it was asked")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_up_when_gone, server, nursery.cancel_scope)
            try:
                outcome = await ask(self._http, metadata.url, body, self._limits)
            except (ServerFailedError, QueryError) as fault:
                outcome = fault  # raised outside of the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel(reason="the server has answered")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _give_up_when_gone(self, server: str, scope: trio.CancelScope) -> None:
        """A process that hangs answers nothing and refuses nothing; but its session ends, and its announcement."""
        while server in self._servers.servers:
            await self._servers.changed()
        await trio.sleep(GONE_GRACE_S)
        scope.cancel(reason="the server has gone")


def _describe(missing: Sequence[Piece]) -> str:
    """Names some of them; ids of what was never served are not known."""
    names = [str(_name(piece.selector.segment.id if piece.selector else piece.descriptor)) for piece in missing[:3]]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"no server answers for {', '.join(names)}{more}"


def _name(known: str | SegmentDescriptor) -> str:
    return known if isinstance(known, str) else f"{known.interval} {known.version} {known.partition}"
