"""The exact state as rows of plain values, and back.

A row is a tuple of None, int, str, bytes and tuples of them; its first item names its kind:

    ("machine", version, history_id, index, zxid, ring_floor, system_errors)      first, once
    ("settings", enforce_quota)                                                   where they are not the defaults
    ("znode", path, data, acl, czxid, mzxid, pzxid, ctime, mtime, version, creates, aversion, owner, ttl)
    ("session", id, password, timeout_ms, attachment, last_number, acked)
    ("outcome", session, number, zxid, error, result, detail)                     after its session
    ("events", zxid, ((kind, path, acl, parent_acl), ...))                        oldest first

Znodes come parents first and siblings in their order, an open ACL is None. Where the format of a row must change, the
version in the header does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from coordserver.core.access import intern_acl
from coordserver.core.acl import ACL, OPEN_ACL_UNSAFE
from coordserver.core.errors import StorageError
from coordserver.core.ring import Entry, EventRing
from coordserver.core.sessions import Remembered, Session
from coordserver.core.stat import Stat
from coordserver.core.tree import DataTree
from coordserver.core.znode import Znode

VERSION = 1
"""The version of the rows' format."""

_DIGESTED_ROWS = 64

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
    for path, node in tree.nodes.items():
        yield znode_row(path, node)


def add_znode(tree: DataTree, row: Sequence[Any]) -> None:
    """Put the znode of a row into the tree."""
    _, path, data, acl, czxid, mzxid, pzxid, ctime, mtime, version, creates, aversion, owner, ttl = row
    node = Znode(data, OPEN_ACL_UNSAFE if acl is None else intern_acl(acl), czxid, ctime, owner, ttl)
    node.mzxid = mzxid
    node.pzxid = pzxid
    node.mtime = mtime
    node.version = version
    node.creates = creates
    node.aversion = aversion
    tree.adopt(path, node)


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


def ring_rows(ring: EventRing) -> Iterator[Row]:
    """A row for the events of a zxid."""
    for entry in ring.entries():
        yield ring_row(entry)


def ring_row(entry: Entry) -> Row:
    """The row of the events of a zxid."""
    zxid, events = entry
    if len(events) == 1:
        [(kind, path, acl, parent)] = events
        if acl is OPEN_ACL_UNSAFE and (parent is None or parent is OPEN_ACL_UNSAFE):
            return "events", zxid, ((kind, path, None, None),)  # as below, which takes twice the time
    return (
        "events",
        zxid,
        tuple((kind, path, _plain_acl(acl), _plain_acl(parent)) for kind, path, acl, parent in events),
    )


def add_events(ring: EventRing, row: Sequence[Any]) -> None:
    """Put the events of a row back."""
    _, zxid, events = row
    ring.append(zxid, tuple((kind, path, intern_acl(acl), intern_acl(parent)) for kind, path, acl, parent in events))


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
