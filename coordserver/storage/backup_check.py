"""An offline look at a data directory: every checksum, every digest, the chain, and what a start would do. It changes
nothing."""

from __future__ import annotations

import attrs

from coordserver.core.state.machine import Machine
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.layout import is_temporary, log_indexes, log_name, snapshot_indexes, snapshot_name
from coordserver.storage.recovery import read_state
from coordserver.storage.segment import SegmentReader
from coordserver.storage.snapshots import read_snapshot


@attrs.frozen
class FileReport:
    """One file. `fault` is empty where it is sound."""

    name: str
    bytes: int
    about: str
    fault: str = ""


@attrs.frozen
class CheckReport:
    """All files, and what a start would do: `recovery` are its lines, `refusal` why it would not start."""

    files: tuple[FileReport, ...]
    recovery: tuple[str, ...]
    refusal: str = ""

    @property
    def sound(self) -> bool:
        """Nothing is damaged."""
        return not self.refusal and not any(file.fault for file in self.files)


def check_directory(disk: Disk) -> CheckReport:
    """Look at everything in a directory that no server is running on. Raises OSError from the disk."""
    names = disk.names()
    files = [_check_snapshot(disk, index) for index in snapshot_indexes(names)]
    files += _check_log(disk, log_indexes(names))
    files += [
        FileReport(name, disk.size(name), "unfinished; a start removes it") for name in names if is_temporary(name)
    ]
    if not log_indexes(names) and not snapshot_indexes(names):
        return CheckReport(tuple(files), ("no log and no snapshot: a new history begins, with an empty tree",))
    try:
        state, recovery = read_state(disk, Machine)
    except StorageError as fault:
        return CheckReport(tuple(files), (), str(fault))
    return CheckReport(tuple(files), recovery, contradiction(state))


def contradiction(state: Machine) -> str:
    """How the state contradicts itself; empty if it does not."""
    try:
        state.check_invariants()
    except AssertionError as fault:
        return f"the state at index {state.index} contradicts itself: {fault}"
    return ""


def _check_snapshot(disk: Disk, index: int) -> FileReport:
    name = snapshot_name(index)
    size = disk.size(name)
    try:
        state = read_snapshot(disk, name, Machine)
    except StorageError as fault:
        return FileReport(name, size, "", str(fault))
    if state.index != index:
        return FileReport(name, size, "", f"{name}: it holds the state after index {state.index}")
    return FileReport(name, size, about_state(state), contradiction(state))


def about_state(state: Machine) -> str:
    """A state in a line."""
    counts = state.statistics()
    return (
        f"zxid {state.zxid:#x}, {counts.znodes} znodes, {counts.data_bytes} bytes of data, {counts.sessions} sessions, "
        f"history {state.history_id.hex()}"
    )


def _check_log(disk: Disk, starts: list[int]) -> list[FileReport]:
    """Each segment by itself, and that it goes on where the one before ends."""
    files: list[FileReport] = []
    previous: SegmentReader | None = None
    for start in starts:
        name = log_name(start)
        size = disk.size(name)
        try:
            reader = SegmentReader(disk, name, start)
            for _ in reader.batches():
                pass
        except StorageError as fault:
            files.append(FileReport(name, size, "", str(fault)))
            previous = None
            continue
        files.append(FileReport(name, size, _about_segment(reader), _broken_chain(previous, reader)))
        previous = reader
    return files


def _about_segment(reader: SegmentReader) -> str:
    about = f"index {reader.header.index} to {reader.next_index - 1}, {reader.position} bytes used"
    if reader.torn_bytes:
        return f"{about}, then a torn tail of {reader.torn_bytes} bytes"
    return about if reader.sealed else f"{about}, not sealed"


def _broken_chain(previous: SegmentReader | None, reader: SegmentReader) -> str:
    if previous is None:
        return ""
    if previous.header.history_id != reader.header.history_id:
        return f"{reader.name}: of another history than {previous.name}"
    if (previous.next_index, previous.chain, previous.torn_bytes) != (reader.header.index, reader.header.chain, 0):
        return f"{reader.name}: does not go on where {previous.name} ends"
    return ""
