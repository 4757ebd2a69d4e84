"""Watches that outlive connections.

A watch is armed on the server per connection and (path, mode); here one `Watch` stands for that pair and holds every
sink that listens. When a connection is lost, each armed watch remembers the newest zxid the client had seen: everything
up to it has been delivered. The next connection arms it again from there, and the server sends what was missed, or says
that it cannot: then the sinks are told to resync. Until its own replay comes, a watch ignores what other watches'
replays show it, and afterwards what it had already: so each sink sees each change once and in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import trio

from coordserver.client.codec import Reply
from coordserver.client.values import KIND_OF_EVENT, WatchEvent, WatchKind
from coordserver.core.errors import CoordError, from_code
from coordserver.core.operations import WatchMode

STREAM_EVENTS = 1024  # a consumer further behind than this had better read again


class WatchSink(Protocol):
    """Who listens. Called from the session's reader: must neither block nor raise."""

    def on_event(self, event: WatchEvent) -> None:
        """Something happened; also RESYNC."""

    def on_error(self, error: CoordError) -> None:
        """The watch could not be armed again; nothing more will come."""


class Watch:
    """One (path, mode) as the server knows it. `since` is -1 while it was never armed in this session."""

    def __init__(self, path: str, recursive: bool, seen: int) -> None:
        self.path = path
        self.recursive = recursive
        self.sinks: list[WatchSink] = []
        self.live = False
        self.armed_once = False
        self.since = -1
        self.seen = seen

    @property
    def mode(self) -> WatchMode:
        return WatchMode.PERSISTENT_RECURSIVE if self.recursive else WatchMode.PERSISTENT

    def on_armed(self, reply: Reply, resumed: bool) -> None:
        """The server answered an add_watch for this pair. A first one of a new sink changes nothing for the others."""
        if reply.error:
            if self.armed_once and not self.live:
                error = from_code(reply.error, self.path, reply.detail)
                for sink in tuple(self.sinks):
                    sink.on_error(error)
            return
        if self.armed_once and not self.live and (not resumed or self.since < 0):
            self._tell(WatchEvent(WatchKind.RESYNC, self.path, reply.zxid))
        self.live = self.armed_once = True
        self.seen = max(self.seen, reply.zxid)  # what happened up to here was told before this reply, or is not due

    def _tell(self, event: WatchEvent) -> None:
        for sink in tuple(self.sinks):
            sink.on_event(event)

    def deliver(self, zxid: int, events: Iterable[tuple[int, str]], replaying: Watch | None) -> None:
        """Pass on what matches. `replaying` is the watch whose add_watch the server is answering just now, if any."""
        if self.armed_once and not self.live and replaying is not self:
            return
        if 0 < zxid <= self.seen:
            return
        for kind, path in events:
            known = KIND_OF_EVENT.get(kind)
            if known is not None and not (self.recursive and known is WatchKind.CHILDREN):
                self.seen = max(self.seen, zxid)
                self._tell(WatchEvent(known, path, zxid))


class WatchHub:
    """All watches of a session."""

    def __init__(self) -> None:
        self._exact: dict[str, Watch] = {}
        self._below: dict[str, Watch] = {}

    def __iter__(self) -> Iterator[Watch]:
        yield from self._exact.values()
        yield from self._below.values()

    def join(self, sink: WatchSink, path: str, recursive: bool, last_zxid: int) -> Watch:
        """Register before the add_watch is sent: an event may follow its reply in the same read."""
        table = self._below if recursive else self._exact
        watch = table.get(path)
        if watch is None:
            watch = table[path] = Watch(path, recursive, last_zxid)
        watch.sinks.append(sink)
        return watch

    def leave(self, sink: WatchSink, watch: Watch) -> bool:
        """Returns whether the server's watch has no listener left."""
        watch.sinks.remove(sink)
        if watch.sinks:
            return False
        table = self._below if watch.recursive else self._exact
        if table.get(watch.path) is watch:
            del table[watch.path]
        return True

    def dispatch(self, zxid: int, events: Iterable[tuple[int, str]], replaying: Watch | None) -> None:
        """Deliver one frame of events, in order, to every watch it concerns."""
        concerned: dict[Watch, list[tuple[int, str]]] = {}
        for event in events:
            for watch in self._matching(event[1]):
                concerned.setdefault(watch, []).append(event)
        for watch, matching in concerned.items():
            watch.deliver(zxid, matching, replaying)

    def _matching(self, path: str) -> Iterator[Watch]:
        exact = self._exact.get(path)
        if exact is not None:
            yield exact
        if self._below:
            prefix = path
            while True:
                below = self._below.get(prefix)
                if below is not None:
                    yield below
                if prefix == "/":
                    return
                prefix = prefix.rpartition("/")[0] or "/"

    def connection_lost(self, last_zxid: int) -> None:
        """Everything up to `last_zxid` was delivered to the watches that were live."""
        for watch in self:
            if watch.live:
                watch.live = False
                watch.since = last_zxid

    def session_lost(self) -> None:
        """Watches go on in the next session, from scratch: their sinks will be told to resync."""
        for watch in self:
            watch.live = False
            watch.since = -1
            watch.seen = 0

    def to_arm(self) -> list[Watch]:
        """What a new connection must arm. A watch never armed yet has its first add_watch under way, sent again."""
        return [watch for watch in self if watch.armed_once and not watch.live]


class WatchStream:
    """Events as an asynchronous iterator, which raises ClientClosedError once the client is closed.

    It holds 1,024 events; a consumer that falls further behind finds one RESYNC in their place.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._events: deque[WatchEvent] = deque()
        self._error: CoordError | None = None
        self._lot = trio.lowlevel.ParkingLot()

    def on_event(self, event: WatchEvent) -> None:
        if len(self._events) >= STREAM_EVENTS:
            self._events.clear()
            event = WatchEvent(WatchKind.RESYNC, self.path, event.zxid)
        self._events.append(event)
        self._lot.unpark_all()

    def on_error(self, error: CoordError) -> None:
        self._error = error
        self._lot.unpark_all()

    def __aiter__(self) -> WatchStream:
        return self

    async def __anext__(self) -> WatchEvent:
        await self._some()
        return self._events.popleft()

    async def next_batch(self) -> list[WatchEvent]:
        """Every event there is, at least one. Raises what ended the watch."""
        await self._some()
        batch = list(self._events)
        self._events.clear()
        return batch

    async def _some(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._lot.park()
