"""How announced segments are packed into znodes: arrays of at most 50 segments and 512 KiB of JSON
(Druid's BatchDataSegmentAnnouncer).

Pure. A plan says what each batch that changes shall hold; nothing has changed until the plan is accepted, once the tree
has it. To announce one segment means to write its whole batch again, so a plan fills the batches it touches anyway
before it opens others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from druidroles.coordination.payloads import dumps
from druidroles.model.segment import DataSegment

SEGMENTS_PER_BATCH = 50
BYTES_PER_BATCH = 512 * 1024

# A batch: the JSON of each segment by its id.
Entries = Mapping[str, bytes]


class SegmentTooLargeError(ValueError):
    """The description of one segment is larger than a batch may be; it cannot be announced."""


def encode_segment(segment: DataSegment) -> bytes:
    """A segment as it stands in a batch. Raises SegmentTooLargeError."""
    data = dumps(segment.to_json())
    if batch_size((data,)) > BYTES_PER_BATCH:
        raise SegmentTooLargeError(
            f"the description of segment {segment.id} has {len(data)} bytes, a batch of announcements at most "
            f"{BYTES_PER_BATCH}"
        )
    return data


def batch_payload(entries: Entries) -> bytes:
    """The JSON array."""
    return b"[" + b",".join(entries.values()) + b"]"


def batch_size(items: Collection[bytes]) -> int:
    """The length of the JSON array of some items."""
    return 2 + sum(map(len, items)) + max(0, len(items) - 1)


class Batches:
    """What each batch of one server holds. `new_name` names a batch that is opened."""

    def __init__(self, new_name: Callable[[], str]) -> None:
        self._new_name = new_name
        self._batches: dict[str, Entries] = {}
        self._homes: dict[str, str] = {}

    def __contains__(self, segment_id: object) -> bool:
        return segment_id in self._homes

    def __len__(self) -> int:
        return len(self._homes)

    def names(self) -> Iterator[str]:
        """The batches there are."""
        return iter(self._batches)

    def get(self, name: str) -> Entries | None:
        """What a batch holds."""
        return self._batches.get(name)

    def plan(self, add: Iterable[DataSegment], remove: Iterable[str] = ()) -> dict[str, Entries]:
        """What the batches concerned shall hold so that `add` is announced and `remove` is not; empty: be deleted.

        Nothing for what is announced, or not announced, already. Raises SegmentTooLargeError.
        """
        drafts = _Drafts(self._batches)
        for segment_id in remove:
            home = self._homes.get(segment_id)
            if home is not None:
                drafts.of(home).pop(segment_id, None)
        for segment in add:
            home = self._homes.get(segment.id)
            if home is None or segment.id not in drafts.of(home):
                data = encode_segment(segment)
                name = drafts.with_room(data)
                if name is None:
                    name = self._new_name()
                    drafts.opened(name)
                drafts.of(name)[segment.id] = data
        return drafts.changed()

    def accept(self, plan: Mapping[str, Entries]) -> None:
        """The tree has what was planned."""
        for name in plan:
            for segment_id in self._batches.pop(name, {}):
                if self._homes.get(segment_id) == name:
                    del self._homes[segment_id]
        for name, entries in plan.items():
            if entries:
                self._batches[name] = entries
                self._homes.update(dict.fromkeys(entries, name))

    def rehome(self, found: Mapping[str, Iterable[str]]) -> None:
        """Put segments into the batches in which they stand in the tree already, in that order; the others stay."""
        homes: dict[str, str] = {}
        for name, ids in found.items():
            for segment_id in ids:
                if segment_id in self._homes:
                    homes.setdefault(segment_id, name)
        entries = {segment_id: data for batch in self._batches.values() for segment_id, data in batch.items()}
        batches: dict[str, dict[str, bytes]] = {}
        self._homes = homes | {segment_id: home for segment_id, home in self._homes.items() if segment_id not in homes}
        for segment_id, home in self._homes.items():
            batches.setdefault(home, {})[segment_id] = entries[segment_id]
        self._batches = dict(batches)


class _Drafts:
    """Batches as they shall be, beside those that are."""

    def __init__(self, batches: Mapping[str, Entries]) -> None:
        self._batches = batches
        self._drafts: dict[str, dict[str, bytes]] = {}
        self._full: set[str] = set()
        self._filling = ""

    def of(self, name: str) -> dict[str, bytes]:
        """The draft of a batch, to be changed."""
        if name not in self._drafts:
            self._drafts[name] = dict(self._batches.get(name, {}))
        return self._drafts[name]

    def with_room(self, data: bytes) -> str | None:
        """A batch that takes one more: one that is written anyway, or else any.

        The one that took the last is asked first, and one that had no room is not asked again, so that the segments of
        a whole server are packed in one go through its batches. Removals come before, so none gets room meanwhile.
        """
        if self._has_room(self._filling, data):
            return self._filling
        for drafts in (self._drafts, self._batches):
            for name in drafts:
                if name not in self._full and self._has_room(name, data):
                    self._filling = name
                    return name
        return None

    def opened(self, name: str) -> None:
        """A batch is new."""
        self._filling = name

    def _has_room(self, name: str, data: bytes) -> bool:
        entries = self._drafts.get(name, self._batches.get(name))
        if entries is None:
            return False
        if len(entries) < SEGMENTS_PER_BATCH and batch_size((*entries.values(), data)) <= BYTES_PER_BATCH:
            return True
        self._full.add(name)
        return False

    def changed(self) -> dict[str, Entries]:
        """The drafts that differ from what is."""
        return {
            name: entries
            for name, entries in self._drafts.items()
            if entries.keys() != self._batches.get(name, {}).keys()
        }
