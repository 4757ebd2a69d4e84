"""The log as it lies in a directory at a start: read once, in order, checked on the way, nothing changed.

What a start replays is read, checked and applied in one pass: to read small batches twice takes half as long again.
"""

from __future__ import annotations

from collections.abc import Iterator

from coordserver.storage.batch_format import FIRST_TERM
from coordserver.storage.disk import Disk
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.layout import log_name, snapshot_name
from coordserver.storage.segment import ADVICE, Batch, SegmentReader
from coordserver.storage.state import State


class StoredLog:
    """The batches behind a snapshot, from the segments of one history."""

    def __init__(self, disk: Disk, segments: list[int], base: int, history_id: bytes) -> None:
        """`base`: the snapshot's index. No segments: the log of a history that begins."""
        self._disk = disk
        self._segments = segments
        self._base = base
        self._history_id = history_id
        self._last: SegmentReader | None = None
        self._term = FIRST_TERM
        self._batches = self._read()

    @property
    def empty(self) -> bool:
        """Whether there is no segment at all."""
        return not self._segments

    def batches(self) -> Iterator[Batch]:
        """The batches from the one that holds the record behind the snapshot on, each once: a second call goes on
        where the first was left. Raises StorageError (CorruptionError, NewerFormatError) where a start is refused.
        """
        return self._batches

    def end(self) -> SegmentReader:
        """The reader of the last segment, at the end of the log. Reads what `batches` has left. Raises as `batches`."""
        for _ in self._batches:
            pass
        assert self._last is not None, "an empty log"
        return self._last

    @property
    def term(self) -> int:
        """The term of the last batch read; 1 where there was none, for snapshots carry no term yet."""
        return self._term

    def _read(self) -> Iterator[Batch]:
        base, segments = self._base, self._segments
        needed = [start for start in segments if start > base + 1]
        covering = [start for start in segments if start <= base + 1][-1:]
        if segments and not covering:
            raise CorruptionError(
                f"{log_name(segments[0])}: the log begins with index {segments[0]}, but the state ends at {base}: "
                f"a segment between is missing. {ADVICE}"
            )
        for start in covering + needed:
            previous, reader = self._last, self._open(start)
            if previous is not None:
                _check_succession(previous, reader)
            self._last = reader
            yield from reader.batches()
            self._term = max(self._term, reader.term)
        if self._last is not None and self._last.next_index <= base:
            raise CorruptionError(
                f"{self._last.name}: the log ends at index {self._last.next_index - 1}, but {snapshot_name(base)} was "
                f"written later; acknowledged writes may be missing. {ADVICE}"
            )

    def _open(self, start: int) -> SegmentReader:
        try:
            reader = SegmentReader(self._disk, log_name(start), start)
        except OSError as error:
            raise StorageError(f"the disk failed during recovery: {error.strerror or error}") from error
        if reader.header.history_id != self._history_id:
            raise CorruptionError(
                f"{reader.name}: belongs to history {reader.header.history_id.hex()}, the state to "
                f"{self._history_id.hex()}. {ADVICE}"
            )
        return reader


def replay(state: State, log: StoredLog) -> None:
    """Apply every record of the log behind the state. Raises as `StoredLog.batches`."""
    apply = state.apply
    for first_index, records in log.batches():
        known = max(0, state.index + 1 - first_index)
        for index, record in enumerate(records[known:], first_index + known):
            apply(index, record)


def _check_succession(previous: SegmentReader, reader: SegmentReader) -> None:
    """A segment is begun only behind a complete one, so that nothing may be torn or missing between two."""
    end = (previous.next_index, previous.chain, previous.torn_bytes)
    if end == (reader.header.index, reader.header.chain, 0):
        return
    raise CorruptionError(
        f"{previous.name}: corrupt at offset {previous.position}, index {previous.next_index}: it ends there, but "
        f"{reader.name} goes on from index {reader.header.index}, so acknowledged writes are damaged. {ADVICE}"
    )
