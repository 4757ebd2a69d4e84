"""The differences between two trees, by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cli.snapshot.entries import Entry, entry_of
from coordserver.core.model import paths
from coordserver.core.state.machine import Machine


class Difference(NamedTuple):
    """One path that differs.

    `what` is "added", "removed" or "changed", from the old tree to the new one. `fields` names the fields of a changed
    znode that differ.
    """

    what: str
    path: str
    fields: tuple[str, ...] = ()


def differences(old: Machine, new: Machine, root: str = paths.ROOT) -> Iterator[Difference]:
    """Yield the differences at and below `root`, sorted by path.

    Of the Stats only the versions are compared, because zxids and times of two histories are not comparable.
    """
    olds, news = old.tree.nodes, new.tree.nodes
    for path in sorted(path for path in olds.keys() | news.keys() if paths.is_within(path, root)):
        before, after = olds.get(path), news.get(path)
        if before is None:
            yield Difference("added", path)
        elif after is None:
            yield Difference("removed", path)
        else:
            fields = _changed_fields(entry_of(path, before), entry_of(path, after))
            if before.version != after.version:
                fields = (*fields, "version")
            if fields:
                yield Difference("changed", path, fields)


def _changed_fields(old: Entry, new: Entry) -> tuple[str, ...]:
    fields = []
    if old.data != new.data:
        fields.append("data")
    if old.acl != new.acl:
        fields.append("acl")
    if (old.owner, old.container, old.ttl_ms) != (new.owner, new.container, new.ttl_ms):
        fields.append("kind")
    return tuple(fields)
