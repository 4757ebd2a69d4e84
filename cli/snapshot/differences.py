"""What two trees differ in, path by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cli.snapshot.entries import Entry, entry_of
from coordserver.core import paths
from coordserver.core.machine import Machine


class Difference(NamedTuple):
    """One path. `what`: added, removed or changed, seen from the first; `fields` are those that changed."""

    what: str
    path: str
    fields: tuple[str, ...] = ()


def differences(old: Machine, new: Machine, root: str = paths.ROOT) -> Iterator[Difference]:
    """By path. Stats are compared by version alone: zxids and times of two histories have nothing to say."""
    olds, news = old.tree.nodes, new.tree.nodes
    for path in sorted(path for path in olds.keys() | news.keys() if paths.is_within(path, root)):
        before, after = olds.get(path), news.get(path)
        if before is None:
            yield Difference("added", path)
        elif after is None:
            yield Difference("removed", path)
        else:
            fields = _changed(entry_of(path, before), entry_of(path, after))
            if before.version != after.version:
                fields = (*fields, "version")
            if fields:
                yield Difference("changed", path, fields)


def _changed(old: Entry, new: Entry) -> tuple[str, ...]:
    fields = []
    if old.data != new.data:
        fields.append("data")
    if old.acl != new.acl:
        fields.append("acl")
    if (old.owner, old.container, old.ttl_ms) != (new.owner, new.container, new.ttl_ms):
        fields.append("kind")
    return tuple(fields)
