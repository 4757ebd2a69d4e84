"""Watches: who hears of what, with the semantics of ZooKeeper 3.9.

There are four kinds, independent of each other on one path: one-shot on data (armed by getData and exists), one-shot on
children, persistent (both of these, for ever) and recursive (every znode from the path down, for ever, but never
"children changed"). A change reaches a connection once, however many of its watches it meets; the znode's own event
comes before its parent's. A one-shot watch is spent even where the ACL hides the event.

Each kind is one table, path to watchers, with the way back from a watcher to its paths. Firing costs as much as there
are hearers, plus the depth to which recursive watches lie on the path; it does not grow with the number of watches.
Watchers that hear the same get the very same tuple of events, so that an edge may encode it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Generic, Protocol, TypeVar

from attrs import define

from coordserver.core.model.access import allowed
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, READ
from coordserver.core.model.operations import EventKind, WatchMode
from coordserver.core.model.paths import ROOT, is_within
from coordserver.core.model.prefixes import Prefixes
from coordserver.core.state.mutations import Event

Notice = tuple[int, str]
"""(kind, path), as it travels."""

_TOGETHER = 64
"""Events gathered at once: what one hears of them is put together by copying, which must not grow with their square."""

_DELETED = int(EventKind.DELETED)
_DATA_CHANGED = int(EventKind.DATA_CHANGED)
_CHILDREN_CHANGED = int(EventKind.CHILDREN_CHANGED)


class Watcher(Protocol):
    """Who may hold watches: identified by itself, judged by its identities."""

    @property
    def identities(self) -> tuple[tuple[str, str], ...]: ...


W = TypeVar("W", bound=Watcher)


@define
class Tally:
    """Numbers of watchers of an event, for those that somebody watched."""

    count: int = 0
    total: int = 0
    least: int = 0
    most: int = 0

    def add(self, watchers: int) -> None:
        """Another event."""
        self.least = min(self.least, watchers) if self.count else watchers
        self.most = max(self.most, watchers)
        self.count += 1
        self.total += watchers


class _Table(Generic[W]):
    """The watches of one kind."""

    __slots__ = ("by_path", "by_watcher")

    def __init__(self) -> None:
        self.by_path: dict[str, dict[W, None]] = {}
        self.by_watcher: dict[W, dict[str, None]] = {}

    def add(self, path: str, watcher: W) -> None:
        watchers = self.by_path.get(path)
        if watchers is None:
            self.by_path[path] = {watcher: None}
        else:
            watchers[watcher] = None
        held = self.by_watcher.get(watcher)
        if held is None:
            self.by_watcher[watcher] = {path: None}
        else:
            held[path] = None

    def remove(self, path: str, watcher: W) -> bool:
        held = self.by_watcher.get(watcher)
        if held is None or path not in held:
            return False
        del held[path]
        if not held:
            del self.by_watcher[watcher]
        watchers = self.by_path[path]
        del watchers[watcher]
        if not watchers:
            del self.by_path[path]
        return True

    def spend(self, path: str) -> dict[W, None] | None:
        """Take all watches on a path, and forget them."""
        watchers = self.by_path.pop(path, None)
        if watchers is not None:
            by_watcher = self.by_watcher
            for watcher in watchers:
                held = by_watcher[watcher]
                del held[path]
                if not held:
                    del by_watcher[watcher]
        return watchers

    def drop(self, watcher: W) -> None:
        for path in self.by_watcher.pop(watcher, ()):
            watchers = self.by_path[path]
            del watchers[watcher]
            if not watchers:
                del self.by_path[path]


class _Subtrees(_Table[W]):
    """Those of them that are recursive."""

    __slots__ = ("_prefixes",)

    def __init__(self) -> None:
        super().__init__()
        self._prefixes: Prefixes[dict[W, None]] = Prefixes()

    def above(self, path: str) -> list[dict[W, None]]:
        """Who watches a path, or a subtree that it is in."""
        return self._prefixes.along(path)

    def add(self, path: str, watcher: W) -> None:
        super().add(path, watcher)
        self._prefixes.put(path, self.by_path[path])

    def remove(self, path: str, watcher: W) -> bool:
        removed = super().remove(path, watcher)
        self._forget((path,))
        return removed

    def drop(self, watcher: W) -> None:
        held = tuple(self.by_watcher.get(watcher, ()))
        super().drop(watcher)
        self._forget(held)

    def _forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path not in self.by_path:
                self._prefixes.remove(path)


class WatchManager(Generic[W]):
    """All watches of one server's connections."""

    def __init__(self) -> None:
        self._data: _Table[W] = _Table()
        self._child: _Table[W] = _Table()
        self._persistent: _Table[W] = _Table()
        self._recursive: _Subtrees[W] = _Subtrees()
        self._tables: tuple[_Table[W], ...] = (self._data, self._child, self._persistent, self._recursive)
        self._on_znodes: tuple[_Table[W], ...] = (self._data, self._persistent, self._recursive)
        self.told = {int(kind): Tally() for kind in EventKind}
        self._by_kind: dict[int, tuple[_Table[W], ...]] = {
            1: (self._child,),
            2: (self._data,),
            3: self._tables,
            4: (self._persistent,),
            5: (self._recursive,),
        }

    def watch_data(self, path: str, watcher: W) -> None:
        """One-shot, as by getData and exists."""
        self._data.add(path or ROOT, watcher)

    def watch_children(self, path: str, watcher: W) -> None:
        """One-shot, as by getChildren."""
        self._child.add(path or ROOT, watcher)

    def add(self, path: str, mode: int, watcher: W) -> None:
        """Persistent or recursive, by WatchMode. Neither existence nor rights are asked."""
        (self._recursive if mode == WatchMode.PERSISTENT_RECURSIVE else self._persistent).add(path, watcher)

    def remove(self, path: str, kind: int, watcher: W) -> bool:
        """Remove this watcher's watches of a WatcherType (1 children, 2 data, 3 any, 4 persistent, 5 recursive)."""
        return sum(table.remove(path, watcher) for table in self._by_kind[kind]) > 0

    def has(self, path: str, kind: int, watcher: W) -> bool:
        """Whether `remove` would find one."""
        return any(path in table.by_watcher.get(watcher, ()) for table in self._by_kind[kind])

    def drop(self, watcher: W) -> None:
        """The connection is gone, and its watches with it."""
        for table in self._tables:
            table.drop(watcher)

    def held_by(self, watcher: W) -> int:
        """How many watches a watcher holds."""
        held = 0
        for table in self._tables:
            held += len(table.by_watcher.get(watcher, ()))
        return held

    def watchers(self) -> tuple[W, ...]:
        """Who watches a znode itself, or a subtree; watches on children only do not count (ZooKeeper's `wchc`)."""
        return tuple(dict.fromkeys(watcher for table in self._on_znodes for watcher in table.by_watcher))

    def watched(self) -> Iterator[str]:
        """The paths that they watch. The first step copies the keys, after which the tables may change."""
        yield from dict.fromkeys(path for table in self._on_znodes for path in table.by_path)

    def watched_by(self, watcher: W) -> tuple[str, ...]:
        """The paths that one of them watches."""
        return tuple(dict.fromkeys(path for table in self._on_znodes for path in table.by_watcher.get(watcher, ())))

    def watching(self, path: str) -> tuple[W, ...]:
        """Which of them watch a path."""
        return tuple(dict.fromkeys(watcher for table in self._on_znodes for watcher in table.by_path.get(path, ())))

    def summary(self) -> tuple[int, int, int]:
        """(watchers, paths, watches) of them. Costs as much as there are watchers, and paths of persistent watches."""
        data, *others = self._on_znodes
        paths = len(data.by_path)
        seen = [data.by_path]
        for table in others:
            paths += sum(1 for path in table.by_path if not any(path in earlier for earlier in seen))
            seen.append(table.by_path)
        watches = sum(len(held) for table in self._on_znodes for held in table.by_watcher.values())
        return len(self.watchers()), paths, watches

    def counts(self) -> tuple[int, int]:
        """(watches, paths watched), summed over the kinds."""
        return (
            sum(len(held) for table in self._tables for held in table.by_watcher.values()),
            sum(len(table.by_path) for table in self._tables),
        )

    def fire(self, events: Sequence[Event]) -> dict[W, tuple[Notice, ...]]:
        """Spend and gather: what each watcher hears of the events of one zxid, in their order.

        Those who hear the same get the very same tuple.
        """
        if not (self._data.by_path or self._child.by_path or self._persistent.by_path or self._recursive.by_path):
            return {}
        if len(events) <= _TOGETHER:
            return self._fire(events)
        heard: dict[W, list[tuple[Notice, ...]]] = {}
        for start in range(0, len(events), _TOGETHER):
            for hearer, notices in self._fire(events[start : start + _TOGETHER]).items():
                heard.setdefault(hearer, []).append(notices)
        return dict(joined(heard))

    def _fire(self, events: Iterable[Event]) -> dict[W, tuple[Notice, ...]]:
        data, child, persistent = self._data.by_path, self._child.by_path, self._persistent.by_path
        recursive = self._recursive.by_path
        deliveries: dict[W, tuple[Notice, ...]] = {}
        for kind, path, acl, parent_acl in events:
            hearers: dict[W, None] = {}
            if path in data:
                hearers.update(self._data.spend(path) or {})
            if path in child and kind == _DELETED:
                hearers.update(self._child.spend(path) or {})
            if path in persistent:
                hearers.update(persistent[path])
            if recursive:
                for watchers in self._recursive.above(path):
                    hearers.update(watchers)
            if hearers:
                self.told[kind].add(len(hearers))
                _deliver(deliveries, hearers, (kind, path), acl)
            if kind == _DATA_CHANGED:
                continue
            parent = path[: path.rfind("/")] or ROOT
            if parent in child or parent in persistent:
                hearers = dict(self._child.spend(parent) or {})
                hearers.update(persistent.get(parent, {}))
                self.told[_CHILDREN_CHANGED].add(len(hearers))
                _deliver(deliveries, hearers, (_CHILDREN_CHANGED, parent), parent_acl)
        return deliveries


def joined(heard: Mapping[W, list[tuple[Notice, ...]]]) -> Iterator[tuple[W, tuple[Notice, ...]]]:
    """What each heard, its parts put together; from the very same parts comes the very same tuple."""
    known: dict[tuple[int, ...], tuple[Notice, ...]] = {}
    for hearer, parts in heard.items():
        same = tuple(map(id, parts))
        notices = known.get(same)
        if notices is None:
            notices = known[same] = tuple(chain.from_iterable(parts))
        yield hearer, notices


def _deliver(
    deliveries: dict[W, tuple[Notice, ...]], hearers: dict[W, None], notice: Notice, acl: tuple[ACL, ...] | None
) -> None:
    guarded = acl is not None and acl is not OPEN_ACL_UNSAFE
    alone: tuple[Notice, ...] = (notice,)
    before: tuple[Notice, ...] | None = None
    joined = alone
    for hearer in hearers:
        if guarded and acl is not None and not allowed(acl, READ, hearer.identities):
            continue
        earlier = deliveries.get(hearer)
        if earlier is None:
            deliveries[hearer] = alone
            continue
        if earlier is not before:
            before, joined = earlier, (*earlier, notice)
        deliveries[hearer] = joined


def missed(
    events: Sequence[Event], path: str, mode: int, identities: tuple[tuple[str, str], ...]
) -> tuple[Notice, ...]:
    """What a persistent or recursive watch on `path` would have told of past events; READ is judged now."""
    notices: list[Notice] = []
    for kind, at, acl, parent_acl in events:
        heard: Notice | None = None
        guard: tuple[ACL, ...] | None = acl
        if is_within(at, path) if mode == WatchMode.PERSISTENT_RECURSIVE else at == path:
            heard = (kind, at)
        elif mode == WatchMode.PERSISTENT and kind != _DATA_CHANGED and (at[: at.rfind("/")] or ROOT) == path:
            heard, guard = (_CHILDREN_CHANGED, path), parent_acl
        if heard is not None and (guard is None or guard is OPEN_ACL_UNSAFE or allowed(guard, READ, identities)):
            notices.append(heard)
    return tuple(notices)
