"""What one write takes to a segment: framed batches, and the zeros behind them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from coordserver.storage.batch_format import BATCH_HEADER_BYTES, LogEntry, encode_batch
from coordserver.storage.disk import DiskFile
from coordserver.storage.segment import Segment

ZERO_BYTES = 256 * 1024


class PreparedAppend(NamedTuple):
    """`data` goes to byte `position` of `file`; its first `batch_bytes` are the batches, the last of them of `term`."""

    file: DiskFile
    position: int
    data: bytes
    batch_bytes: int
    batches: int
    records: int
    term: int
    crc: int
    written: int


def prepare_append(segment: Segment, entries: Sequence[LogEntry], next_index: int, term: int) -> PreparedAppend | None:
    """The entries as batches behind the record before `next_index`, which is synced and of term `term`; None where the
    segment has no room for them. Raises ValueError where they do not go on from there.
    """
    parts: list[bytes] = []
    index, chain = next_index, segment.chain
    for entry in entries:
        if entry.first_index != index:
            raise ValueError(f"append at index {entry.first_index}, but the log goes on at {index}")
        if entry.term < term:
            raise ValueError(f"append in term {entry.term}, but the log is in term {term}")
        batch, chain = encode_batch(entry, synced=next_index - 1, seed=segment.seed, chain=chain)
        index, term = entry.next_index, entry.term
        parts.append(batch)
    data = b"".join(parts)
    size = len(data)
    end = segment.position + size
    if end > segment.size:
        return None
    written = segment.written
    if end > written:
        # The first write into a reserved block changes the file's map of blocks, for which a sync has to wait
        # (170 µs instead of 100 µs on ext4, measured); one such write in 256 KiB is enough: zeros go behind it.
        written = max(end, min(-(-end // ZERO_BYTES) * ZERO_BYTES, segment.size))
        data += bytes(written - end)
    return PreparedAppend(
        segment.file, segment.position, data, size, len(parts), index - next_index, term, chain, written
    )


def first_fitting(entries: Sequence[LogEntry], room: int) -> int:
    """How many of the first entries fit into `room` bytes together; 1 if not even one does."""
    fitting = 0
    for entry in entries:
        room -= BATCH_HEADER_BYTES + len(entry.payload)
        if room < 0:
            break
        fitting += 1
    return max(1, fitting)
