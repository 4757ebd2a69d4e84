"""The import of an Apache ZooKeeper data directory: the newest valid snapshot, and the logs after it.

The import does the same as ZooKeeper at its start (FileTxnSnapLog.restore). If a snapshot is damaged, it uses the one
before. An incomplete entry ends a log file. A wrong checksum in a log is an error. The import does not change
ZooKeeper's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from coordserver.core.state.machine import Machine
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.file_disk import FileDisk
from coordserver.storage.foreign import VERSION_DIRECTORY
from coordserver.storage.zookeeper_files import FileTxn, read_zookeeper_log, read_zookeeper_snapshot
from coordserver.storage.zookeeper_tree import ZooKeeperTree

_NAME = re.compile(r"(snapshot|log)\.([0-9a-fA-F]{1,16})(\.gz|\.snappy)?")
_EPOCH_BITS = 32
_NO_HISTORY = bytes(16)


@attrs.frozen
class ZooKeeperState:
    """The imported state, and lines for the operator about its origin.

    `machine` has no history id yet; backup.restore sets one.
    """

    machine: Machine
    report: tuple[str, ...]


def read_zookeeper(data_dir: Path, log_dir: Path | None = None) -> ZooKeeperState:
    """Return the state with which ZooKeeper would start. `log_dir` is its dataLogDir, if it has one.

    Raises StorageError for a missing file or directory, and CorruptionError for damage that ZooKeeper would not
    tolerate either.
    """
    report: list[str] = []
    try:
        tree = _read_newest(_list_files(data_dir, "snapshot"), data_dir, report)
        _replay(tree, _list_files(log_dir or data_dir, "log"), report)
    except OSError as fault:
        raise StorageError(f"{fault.filename}: {fault.strerror}") from None
    report.append(f"{len(tree)} znodes and {len(tree.sessions)} sessions at zxid {tree.zxid:#x}")
    machine = tree.to_machine(_NO_HISTORY)
    machine.check_invariants()
    return ZooKeeperState(machine, tuple(report))


def _list_files(directory: Path, kind: str) -> list[tuple[int, Path]]:
    """Return the files of a kind, "snapshot" or "log", each with the zxid in its name, in ascending order.

    `directory` may be the version-2 directory or its parent.
    """
    inner = directory / VERSION_DIRECTORY
    actual = inner if inner.is_dir() else directory
    if not actual.is_dir():
        raise StorageError(f"{directory}: not a directory")
    matches = ((path, _NAME.fullmatch(path.name)) for path in actual.iterdir())
    return sorted((int(match[2], 16), path) for path, match in matches if match is not None and match[1] == kind)


def _read_newest(snapshots: list[tuple[int, Path]], directory: Path, report: list[str]) -> ZooKeeperTree:
    faults = []
    for zxid, path in reversed(snapshots):
        try:
            tree = ZooKeeperTree(read_zookeeper_snapshot(path.name, path.read_bytes()), zxid)
        except CorruptionError as fault:
            faults.append(str(fault))
            report.append(f"SNAPSHOT UNUSABLE, using the one before it and more log: {fault}")
            continue
        report.append(f"{path.name}: {len(tree)} znodes")
        return tree
    if faults:
        raise CorruptionError(f"{directory}: no usable snapshot: {'; '.join(faults)}")
    raise StorageError(f"{directory}: no snapshot of ZooKeeper in this directory or in its {VERSION_DIRECTORY}")


def _replay(tree: ZooKeeperTree, logs: list[tuple[int, Path]], report: list[str]) -> None:
    """Apply the log after the snapshot. The last file that begins before the snapshot may have entries after it."""
    base = tree.zxid
    needed = [path for zxid, path in logs if zxid > base]
    before = [path for zxid, path in logs if zxid <= base]
    count = 0
    for txn in _read_after(base, [*before[-1:], *needed]):
        # A standalone server logs every zxid of an epoch, so a missing one means that a log file was not copied.
        if txn.zxid > tree.zxid + 1 and txn.zxid >> _EPOCH_BITS == tree.zxid >> _EPOCH_BITS:
            report.append(f"GAP IN THE LOG: zxid {tree.zxid:#x} is followed by {txn.zxid:#x}; is a log file missing?")
        tree.apply(txn)
        count += 1
    report.append(f"{count} log records replayed, {tree.tolerated} of them already in the snapshot")


def _read_after(base: int, logs: list[Path]) -> Iterator[FileTxn]:
    """Yield the entries of the log files with a zxid above `base`."""
    for path in logs:
        disk = FileDisk(path.parent)
        # ZooKeeper preallocates tens of MiB. The part that it has not written is a hole, which need not be read.
        for txn in read_zookeeper_log(path.name, disk.read(path.name, 0, disk.data_end(path.name))):
            if txn.zxid > base:
                yield txn
