"""The log, the snapshots, and the way back from them. File formats: docs/storage.md.

with open_data_dir(path) as disk:                    # locked; one-line errors
    recovered = recover(disk)                        # state, open log, lines for the operator
    recovered.log.append(records, recovered.next_index)   # in the log's own thread; durable on return
    recovered.log.entries(first, last)               # in any thread; whole batches, durable ones only
    recovered.log.truncate(index)                    # in the log's own thread
    save_snapshot(disk, recovered.machine); retain(disk)
"""

from coordserver.storage.batch_format import LogEntry
from coordserver.storage.data_dir import open_data_dir
from coordserver.storage.disk import Disk, DiskFile
from coordserver.storage.errors import (
    CorruptionError,
    DiskSpaceError,
    LogEndsError,
    LogPurgedError,
    NewerFormatError,
    StorageError,
    TruncationError,
)
from coordserver.storage.file_disk import FileDisk
from coordserver.storage.recovery import Recovered, Recovery, read_state, recover, recover_state
from coordserver.storage.snapshots import (
    SNAPSHOTS_KEPT,
    SnapshotInfo,
    SnapshotWriter,
    load_snapshot,
    read_snapshot,
    retain,
    save_snapshot,
)
from coordserver.storage.state import State
from coordserver.storage.stored_log import StoredLog, replay
from coordserver.storage.txnlog import SEGMENT_BYTES, LogStatistics, TxnLog, purge_log

__all__ = [
    "open_data_dir",
    "recover",
    "recover_state",
    "read_state",
    "Recovered",
    "Recovery",
    "StoredLog",
    "replay",
    "TxnLog",
    "LogEntry",
    "LogStatistics",
    "SEGMENT_BYTES",
    "purge_log",
    "save_snapshot",
    "load_snapshot",
    "read_snapshot",
    "retain",
    "SnapshotWriter",
    "SnapshotInfo",
    "SNAPSHOTS_KEPT",
    "State",
    "Disk",
    "DiskFile",
    "FileDisk",
    "StorageError",
    "CorruptionError",
    "NewerFormatError",
    "DiskSpaceError",
    "LogPurgedError",
    "LogEndsError",
    "TruncationError",
]
