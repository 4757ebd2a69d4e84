"""A snapshot that somebody asked for: first it is taken, then read piece by piece. Its file stays open meanwhile, so
that it may be purged."""

from __future__ import annotations

import logging
from collections.abc import Callable

from coordserver.storage.disk import Disk, DiskReader
from coordserver.storage.snapshots import SnapshotInfo

_log = logging.getLogger(__name__)


class Download:
    """Answers `wire.admin.monitoring.SnapshotDownload`. `woken` is called once, when it is done."""

    def __init__(self, disk: Disk, woken: Callable[[], None]) -> None:
        self._disk = disk
        self._woken = woken
        self._reader: DiskReader | None = None
        self._closed = False
        self.done = False
        self.zxid = 0

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        return self._reader.size if self._reader is not None else 0

    def taken(self, info: SnapshotInfo | None, zxid: int) -> None:
        """The snapshot is there, or could not be taken."""
        if self._closed:
            return
        self.done = True
        self.zxid = zxid
        if info is not None:
            try:
                self._reader = self._disk.open(info.name)
            except OSError as error:
                _log.error("%s cannot be opened: %s", info.name, error.strerror)
        self._woken()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer where the disk fails."""
        if self._reader is None:
            return b""
        try:
            return self._reader.read(offset, length)
        except OSError as error:
            _log.error("a snapshot cannot be read: %s", error.strerror)
            return b""

    def close(self) -> None:
        """Nobody wants it any more."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()
