"""From the data directory of an Apache ZooKeeper to a state of ours: the newest whole snapshot, and the logs behind it.

What ZooKeeper does at its start is done here (FileTxnSnapLog.restore): a snapshot that is damaged is passed over for
the one before, a log's torn tail ends that file, a wrong checksum in a log is fatal. Nothing is written to its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from coordserver.core.machine import Machine
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
    """What was found. `machine` has no history of its own yet (backup.restore gives it one)."""

    machine: Machine
    report: tuple[str, ...]


def read_zookeeper(data_dir: Path, log_dir: Path | None = None) -> ZooKeeperState:
    """The state that a ZooKeeper would start with. `log_dir` is its dataLogDir, where it has one.

    Raises StorageError, CorruptionError where a file is damaged beyond what ZooKeeper itself tolerates.
    """
    report: list[str] = []
    try:
        tree = _newest(_files(data_dir, "snapshot"), data_dir, report)
        _replay(tree, _files(log_dir or data_dir, "log"), report)
    except OSError as fault:
        raise StorageError(f"{fault.filename}: {fault.strerror}") from None
    report.append(f"{len(tree)} znodes and {len(tree.sessions)} sessions at zxid {tree.zxid:#x}")
    machine = tree.to_machine(_NO_HISTORY)
    machine.check_invariants()
    return ZooKeeperState(machine, tuple(report))


def _files(directory: Path, kind: str) -> list[tuple[int, Path]]:
    """Files of a kind with the zxid in their names, ascending. The directory may be given with or without version-2."""
    inner = directory / VERSION_DIRECTORY
    where = inner if inner.is_dir() else directory
    if not where.is_dir():
        raise StorageError(f"{directory}: not a directory")
    matches = ((path, _NAME.fullmatch(path.name)) for path in where.iterdir())
    return sorted((int(match[2], 16), path) for path, match in matches if match is not None and match[1] == kind)


def _newest(snapshots: list[tuple[int, Path]], directory: Path, report: list[str]) -> ZooKeeperTree:
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
    raise StorageError(f"{directory}: no snapshot of a ZooKeeper there, nor in {VERSION_DIRECTORY} below it")


def _replay(tree: ZooKeeperTree, logs: list[tuple[int, Path]], report: list[str]) -> None:
    """Apply what lies behind the snapshot. The file that begins before it may reach into it."""
    base = tree.zxid
    needed = [path for zxid, path in logs if zxid > base]
    before = [path for zxid, path in logs if zxid <= base]
    count = 0
    for txn in _behind(base, [*before[-1:], *needed]):
        # Standalone, every zxid is in the log; what is missing from one epoch is a file that was not brought along.
        if txn.zxid > tree.zxid + 1 and txn.zxid >> _EPOCH_BITS == tree.zxid >> _EPOCH_BITS:
            report.append(f"A GAP IN THE LOG: behind zxid {tree.zxid:#x} comes {txn.zxid:#x}; is a log file missing?")
        tree.apply(txn)
        count += 1
    report.append(f"{count} records of log behind it, {tree.tolerated} of them met what the snapshot had already")


def _behind(base: int, logs: list[Path]) -> Iterator[FileTxn]:
    for path in logs:
        disk = FileDisk(path.parent)
        # What ZooKeeper reserved and has not written is a hole, tens of MiB of zeros that need not be read.
        for txn in read_zookeeper_log(path.name, disk.read(path.name, 0, disk.data_end(path.name))):
            if txn.zxid > base:
                yield txn
