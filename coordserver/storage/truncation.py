"""Cutting the end off a log.

The order of steps, each of which a start can follow:

1. The segment that will be the last one is written anew up to the cut, sealed and synced, under its temporary name. The
   log is as it was; a start removes the file.
2. The segments behind it lose their names, the newest first. A start after some of these finds a log that ends at the
   end of a segment: shorter than it was, not yet as short as it is to be, and whole.
3. The directory is synced, so that no crash can bring a later segment back behind the next step.
4. The new file takes the name of the old one.
"""

from __future__ import annotations

import attrs

from coordserver.storage.batch_format import FIRST_TERM, LogEntry, encode_batch
from coordserver.storage.disk import Disk
from coordserver.storage.entries import EntryReader
from coordserver.storage.errors import CorruptionError, LogEndsError, LogPurgedError, TruncationError
from coordserver.storage.layout import log_indexes, log_name, snapshot_indexes, snapshot_name
from coordserver.storage.record_format import encode_records
from coordserver.storage.segment import Segment, SegmentReader, prepare_segment, publish_segment


@attrs.frozen
class PreparedCut:
    """A cut of which only a temporary file exists. `last` is the log's last segment once it is carried out, `term` that
    of its last record, `later` the segments to be removed, newest first.
    """

    last: Segment
    term: int
    later: tuple[str, ...]

    def carry_out(self, disk: Disk) -> None:
        """Durable on return. Raises OSError: the log then ends at the cut or behind it, as a start will find."""
        try:
            for name in self.later:
                disk.remove(name)
            if self.later:
                disk.sync_directory()
        except OSError:
            self.last.file.close()
            raise
        publish_segment(disk, self.last)


def prepare_cut(disk: Disk, log: EntryReader, first_index: int, segment_bytes: int) -> PreparedCut:
    """Prepare to cut off every record from `first_index` on.

    Raises TruncationError, CorruptionError, DiskSpaceError and OSError; the log is as it was.
    """
    names = disk.names()
    _check_snapshots(names, first_index)
    term = _term_before(log, first_index)
    starts = log_indexes(names)
    start = max(start for start in starts if start <= first_index)
    reader = SegmentReader(disk, log_name(start), start)
    if not reader.pass_to(first_index):
        raise CorruptionError(f"{reader.name}: no batch begins at index {first_index}")
    body, chain = reader.body(), reader.chain
    if not reader.sealed:
        empty = LogEntry(reader.term, first_index, 0, encode_records(()))
        seal, chain = encode_batch(empty, synced=first_index - 1, seed=reader.seed, chain=chain)
        body += seal
    last = prepare_segment(disk, reader.header, body, chain if body else None, segment_bytes)
    return PreparedCut(last, term, tuple(log_name(later) for later in reversed(starts) if later > start))


def _check_snapshots(names: list[str], first_index: int) -> None:
    """A start on a snapshot that has records which the log has not would be refused."""
    snapshots = snapshot_indexes(names)
    if snapshots and snapshots[-1] >= first_index:
        raise TruncationError(
            f"cannot cut the log at index {first_index}: {snapshot_name(snapshots[-1])} has the state after index "
            f"{snapshots[-1]}"
        )


def _term_before(log: EntryReader, first_index: int) -> int:
    """The term of the last record before the cut. Raises TruncationError where no batch begins there."""
    try:
        begins = log.entries(first_index, first_index)[0].first_index
    except (LogPurgedError, LogEndsError, ValueError) as error:
        raise TruncationError(f"cannot cut the log at index {first_index}: {error}") from error
    if begins != first_index:
        raise TruncationError(f"cannot cut the log at index {first_index}: it is in the batch that begins at {begins}")
    if first_index == 1:
        return FIRST_TERM
    try:
        return log.entries(first_index - 1, first_index - 1)[0].term
    except LogPurgedError:
        return FIRST_TERM
