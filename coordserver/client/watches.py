"""Watches that survive reconnects.

A server has one watch for each connection, path and mode. Here one `Watch` represents a path and mode, and has all
sinks that receive its events. When a connection is lost, each armed watch stores the last zxid that the client has
seen. All events up to that zxid were delivered. The next connection arms the watch again from that zxid, and the server
replays the missed events. If the server cannot replay them, the sinks receive RESYNC.

Before its own replay, a watch ignores events that the replays of other watches cause. After its replay it ignores
events that it has already delivered. Each sink therefore receives each change once and in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import trio

from coordserver.client.codec import Reply
from coordserver.client.values import KIND_OF_EVENT, WatchEvent, WatchKind
from coordserver.core.model.errors import CoordError, from_code
from coordserver.core.model.operations import WatchMode

STREAM_EVENTS = 1024  # a consumer that falls further behind receives RESYNC instead


class WatchSink(Protocol):
    """Receives the events of a watch. The session's reader calls it, so it must neither block nor raise."""

    def on_event(self, event: WatchEvent) -> None:
        """Receive an event, or RESYNC."""

    def on_error(self, error: CoordError) -> None:
        """Receive the error that ended the watch. No event follows."""


class Watch:
    """The watch of one path and mode.

    `live` is whether the watch is armed on the current connection, `armed_once` whether it was ever armed. `since` is
    the zxid from which the server must replay events, -1 if the watch was never armed in this session. Events up to the
    zxid `seen` are ignored, because they were delivered or happened before the watch was armed.
    """

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
        """Handle the reply to an add_watch. `resumed` is whether the server replayed all events after `since`.

        Another add_watch of an armed watch, for a new sink, does not affect the other sinks.
        """
        if reply.error:
            if self.armed_once and not self.live:
                error = from_code(reply.error, self.path, reply.detail)
                for sink in tuple(self.sinks):
                    sink.on_error(error)
            return
        if self.armed_once and not self.live and (not resumed or self.since < 0):
            self._notify(WatchEvent(WatchKind.RESYNC, self.path, reply.zxid))
        self.live = self.armed_once = True
        # Events up to this zxid were delivered before this reply, or happened before the watch was armed.
        self.seen = max(self.seen, reply.zxid)

    def _notify(self, event: WatchEvent) -> None:
        for sink in tuple(self.sinks):
            sink.on_event(event)

    def deliver(self, zxid: int, events: Iterable[tuple[int, str]], replaying: Watch | None) -> None:
        """Deliver the events of one change to the sinks.

        `replaying` is the watch that the server is arming again at this moment, or None.
        """
        if self.armed_once and not self.live and replaying is not self:
            return
        if 0 < zxid <= self.seen:
            return
        for kind, path in events:
            known = KIND_OF_EVENT.get(kind)
            if known is not None and not (self.recursive and known is WatchKind.CHILDREN):
                self.seen = max(self.seen, zxid)
                self._notify(WatchEvent(known, path, zxid))


class WatchHub:
    """All watches of a session."""

    def __init__(self) -> None:
        self._exact: dict[str, Watch] = {}
        self._recursive: dict[str, Watch] = {}

    def __iter__(self) -> Iterator[Watch]:
        yield from self._exact.values()
        yield from self._recursive.values()

    def add_sink(self, sink: WatchSink, path: str, recursive: bool, last_zxid: int) -> Watch:
        """Add a sink to the watch of a path and mode, which is created if necessary.

        Call it before the add_watch is sent, because an event may follow its reply in the same read.
        """
        table = self._recursive if recursive else self._exact
        watch = table.get(path)
        if watch is None:
            watch = table[path] = Watch(path, recursive, last_zxid)
        watch.sinks.append(sink)
        return watch

    def remove_sink(self, sink: WatchSink, watch: Watch) -> bool:
        """Remove a sink. Returns whether it was the last one, so that the server's watch should be removed."""
        watch.sinks.remove(sink)
        if watch.sinks:
            return False
        table = self._recursive if watch.recursive else self._exact
        if table.get(watch.path) is watch:
            del table[watch.path]
        return True

    def dispatch(self, zxid: int, events: Iterable[tuple[int, str]], replaying: Watch | None) -> None:
        """Deliver the events of one change, in order, to every watch that matches them."""
        by_watch: dict[Watch, list[tuple[int, str]]] = {}
        for event in events:
            for watch in self._find_watches(event[1]):
                by_watch.setdefault(watch, []).append(event)
        for watch, matching in by_watch.items():
            watch.deliver(zxid, matching, replaying)

    def _find_watches(self, path: str) -> Iterator[Watch]:
        exact = self._exact.get(path)
        if exact is not None:
            yield exact
        if self._recursive:
            prefix = path
            while True:
                recursive = self._recursive.get(prefix)
                if recursive is not None:
                    yield recursive
                if prefix == "/":
                    return
                prefix = prefix.rpartition("/")[0] or "/"

    def connection_lost(self, last_zxid: int) -> None:
        """Mark all watches as unarmed. The live ones have received all events up to `last_zxid`."""
        for watch in self:
            if watch.live:
                watch.live = False
                watch.since = last_zxid

    def session_lost(self) -> None:
        """Mark all watches as never armed in the next session. Their sinks receive RESYNC when they are armed there."""
        for watch in self:
            watch.live = False
            watch.since = -1
            watch.seen = 0

    def list_unarmed(self) -> list[Watch]:
        """Return the watches that a new connection must arm.

        A watch that was never armed is not among them, because the session sends its first add_watch again.
        """
        return [watch for watch in self if watch.armed_once and not watch.live]


class WatchStream:
    """An asynchronous iterator of watch events. It raises ClientClosedError once the client is closed.

    The stream stores up to 1,024 events. If the consumer falls further behind, one RESYNC replaces them.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._events: deque[WatchEvent] = deque()
        self._error: CoordError | None = None
        self._waiters = trio.lowlevel.ParkingLot()

    def on_event(self, event: WatchEvent) -> None:
        if len(self._events) >= STREAM_EVENTS:
            self._events.clear()
            event = WatchEvent(WatchKind.RESYNC, self.path, event.zxid)
        self._events.append(event)
        self._waiters.unpark_all()

    def on_error(self, error: CoordError) -> None:
        self._error = error
        self._waiters.unpark_all()

    def __aiter__(self) -> WatchStream:
        return self

    async def __anext__(self) -> WatchEvent:
        await self._wait_event()
        return self._events.popleft()

    async def next_batch(self) -> list[WatchEvent]:
        """Wait for at least one event and return all stored events. Raises the error that ended the watch."""
        await self._wait_event()
        batch = list(self._events)
        self._events.clear()
        return batch

    async def _wait_event(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._waiters.park()
