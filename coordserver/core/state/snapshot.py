"""The exact state as rows of plain values, and back.

A row is a tuple of None, int, str, bytes and tuples of them; its first item names its kind:

    ("machine", version, history_id, index, zxid, ring_floor, system_errors)      first, once
    ("settings", enforce_quota)                                                   where they are not the defaults
    ("znode", path, data, acl, czxid, mzxid, pzxid, ctime, mtime, version, creates, aversion, owner, ttl)
    ("session", id, password, timeout_ms, attachment, last_number, acked)
    ("outcome", session, number, zxid, error, result, detail)                     after its session
    ("ring", ((zxid, kind, path, acl, parent_acl), ...))                          oldest first, RING_ROW_EVENTS in each

Znodes come parents first and siblings in their order, an open ACL is None. Where the format of a row must change, the
version in the header does. Version 1 had, in place of the last, a row for each zxid:

    ("events", zxid, ((kind, path, acl, parent_acl), ...))

A state has but one series of rows, whoever asks for them and in whatever pieces, so that the rows of a state that was
built can be held against those that it was built from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, cast

from coordserver.core.model.access import intern_acl
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE
from coordserver.core.model.errors import StorageError
from coordserver.core.model.paths import ROOT
from coordserver.core.model.stat import Stat
from coordserver.core.state.quotas import PREFIX as QUOTA_PREFIX
from coordserver.core.state.ring import EventRing
from coordserver.core.state.ring_index import Entry
from coordserver.core.state.sessions import Remembered, Session
from coordserver.core.state.tree import DataTree
from coordserver.core.state.znode import Znode

VERSION = 2
"""The version of the rows' format."""

RING_ROW_EVENTS = 64
"""Few enough that a row is made in a fraction of a slice (server/snapshots.py), so many that its own cost is none."""

_DIGESTED_VERSION = 1
_DIGESTED_ROWS = 64
_new_znode = cast("Callable[[type[Znode]], Znode]", object.__new__)

Row = tuple[Any, ...]


def header(history_id: bytes, index: int, zxid: int, ring_floor: int, system_errors: int) -> Row:
    """The first row."""
    return ("machine", VERSION, history_id, index, zxid, ring_floor, system_errors)


def check_header(row: Sequence[Any]) -> None:
    """Raise StorageError unless `row` is a header of a version that is known here."""
    if not row or row[0] != "machine" or not isinstance(row[1], int):
        raise StorageError("a snapshot must begin with the header of its state")
    if row[1] > VERSION:
        raise StorageError(f"state format {row[1]} is newer than {VERSION}, the newest known here")


def znode_row(path: str, node: Znode) -> Row:
    """The row of a znode."""
    return (
        "znode",
        path,
        node.data,
        None if node.acl is OPEN_ACL_UNSAFE else _plain_acl(node.acl),
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime,
        node.mtime,
        node.version,
        node.creates,
        node.aversion,
        node.owner,
        node.ttl,
    )


def tree_rows(tree: DataTree) -> Iterator[Row]:
    """One row a znode."""
    return map(znode_row, tree.nodes, tree.nodes.values())


def add_znodes(tree: DataTree, rows: Iterable[Sequence[Any]]) -> None:
    """Put the znodes of rows into a tree that is being built; their parents are there, or come before them.

    What `Znode()` and `tree.adopt` would do, written out, for this is most of a start: siblings often follow one
    another, so the parent is looked up where it is another one, and what is rare is left to `adopt`.
    """
    nodes = tree.nodes
    known: dict[Any, tuple[ACL, ...]] = {None: OPEN_ACL_UNSAFE}
    above = None
    siblings: dict[str, None] = {}
    ordinary = True
    path_bytes = data_bytes = 0
    for row in rows:
        _, path, data, plain_acl, czxid, mzxid, pzxid, ctime, mtime, version, creates, aversion, owner, ttl = row
        acl = known.get(plain_acl)
        if acl is None:
            acl = known[plain_acl] = intern_acl(plain_acl)
        node = _new_znode(Znode)
        node.data = data
        node.acl = acl
        node.czxid = czxid
        # Numbers that are equal are most often one and the same where they were made; so they are here.
        node.mzxid = czxid if mzxid == czxid else mzxid
        node.pzxid = czxid if pzxid == czxid else pzxid
        node.ctime = ctime
        node.mtime = ctime if mtime == ctime else mtime
        node.version = version
        node.creates = creates
        node.aversion = aversion
        node.owner = owner
        node.ttl = ttl
        node.walk = 0
        node.children = node._stat = node._names = None
        its_parent, _, name = path.rpartition("/")
        if its_parent != above:
            if path == ROOT:
                tree.adopt(path, node)
                continue
            parent = nodes[its_parent or ROOT]
            if parent.children is None:
                parent.children = {}
            above, siblings = its_parent, parent.children
            ordinary = not path.startswith(QUOTA_PREFIX)
        if owner or ttl or not ordinary:
            tree.adopt(path, node)
            continue
        siblings[name] = None
        nodes[path] = node
        path_bytes += len(path)
        if data:
            data_bytes += len(data)
    tree.path_bytes += path_bytes
    tree.data_bytes += data_bytes


def session_rows(sessions: Iterable[Session]) -> Iterator[Row]:
    """A row a session, followed by its remembered outcomes."""
    for session in sessions:
        yield (
            "session",
            session.id,
            session.password,
            session.timeout_ms,
            session.attachment,
            session.last_number,
            session.acked,
        )
        for number, outcome in session.outcomes.items():
            zxid, error, result, detail = outcome
            yield ("outcome", session.id, number, zxid, error, plain(result), detail)


def session_of(row: Sequence[Any]) -> Session:
    """The session of a row."""
    _, session_id, password, timeout_ms, attachment, last_number, acked = row
    session = Session(session_id, password, timeout_ms)
    session.attachment = attachment
    session.last_number = last_number
    session.acked = acked
    return session


def add_outcome(sessions: dict[int, Session], row: Sequence[Any]) -> int:
    """Give the outcome of a row back to its session; what it weighs."""
    _, session_id, number, zxid, error, result, detail = row
    session = sessions[session_id]
    last_number = session.last_number
    before = session.weight
    session.remember(number, Remembered(zxid, error, _revived(result), detail))
    session.last_number = last_number
    return session.weight - before


def ring_rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """The rows of the ring's entries. An entry is let go once its events are taken."""
    events = (
        # Not `_plain_acl`, which takes as long as all else: an ACL is a tuple of tuples as it is.
        (zxid, kind, path, None if acl is OPEN_ACL_UNSAFE else acl, None if parent is OPEN_ACL_UNSAFE else parent)
        for zxid, events in entries
        for kind, path, acl, parent in events
    )
    while some := tuple(islice(events, RING_ROW_EVENTS)):
        yield "ring", some


def add_ring(ring: EventRing, row: Sequence[Any]) -> None:
    """Put the events of a row back."""
    _, events = row
    for zxid, some in groupby(events, itemgetter(0)):
        ring.restore(zxid, tuple((kind, path, intern_acl(acl), intern_acl(up)) for _, kind, path, acl, up in some))


def add_events(ring: EventRing, row: Sequence[Any]) -> None:
    """Put the events of a row of version 1 back."""
    _, zxid, events = row
    ring.append(zxid, tuple((kind, path, intern_acl(acl), intern_acl(parent)) for kind, path, acl, parent in events))


def digested_header(row: Row) -> Row:
    """The header as digests have it, which outlive the versions of the rows."""
    return ("machine", _DIGESTED_VERSION, *row[2:])


def digested_events(entry: Entry) -> Row:
    """The events of a zxid, likewise."""
    zxid, events = entry
    return (
        "events",
        zxid,
        tuple((kind, path, _plain_acl(acl), _plain_acl(parent)) for kind, path, acl, parent in events),
    )


class RowDigest:
    """64 bits over rows, in their order, taken piece by piece: equal states have equal digests."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=8)

    def update(self, rows: Iterable[Row]) -> None:
        """Take the next rows."""
        # Many at a time: a hash of one row costs more in its call than in its bytes.
        update, remaining = self._digest.update, iter(rows)
        while some := "".join(map(repr, islice(remaining, _DIGESTED_ROWS))):
            update(some.encode("utf-8", "surrogatepass"))

    def value(self) -> int:
        """The digest of all rows taken so far."""
        return int.from_bytes(self._digest.digest(), "big")


def digest_of(rows: Iterable[Row]) -> int:
    """The digest of all rows at once."""
    digest = RowDigest()
    digest.update(rows)
    return digest.value()


def plain(value: Any) -> Any:
    """`value` with every tuple and list in it a plain tuple, every enum an int."""
    if isinstance(value, tuple | list):
        return tuple(plain(item) for item in value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _revived(result: Sequence[Any]) -> tuple[Any, ...]:
    """A result as apply made it: eleven ints in a row are a Stat."""
    return tuple(
        (Stat(*item) if len(item) == len(Stat._fields) and isinstance(item[0], int) else _revived(item))
        if isinstance(item, tuple | list)
        else item
        for item in result
    )


def _plain_acl(acl: tuple[ACL, ...] | None) -> tuple[tuple[int, str, str], ...] | None:
    if acl is None or acl is OPEN_ACL_UNSAFE:
        return None
    return tuple(tuple(entry) for entry in acl)  # type: ignore[misc]
