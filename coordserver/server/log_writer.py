"""Who writes the log: one batch at a time, off the thread that serves, because a sync takes from 0.1 ms to seconds.

A batch that fits into the open segment goes to a thread of the C library, where there is one (async_writes.py says
why). Everything else goes to a thread of ours, which may block: another segment, a disk without room, the seal at the
end, and every batch where the library cannot. Never both at once: whoever begins one waits until it was collected.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum

import trio

from coordserver.storage.append import PreparedAppend
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.errors import DiskSpaceError, StorageError
from coordserver.storage.record_format import encode_records
from coordserver.storage.txnlog import TxnLog

RETRY_S = 0.5
"""How long a batch waits for which the disk has no room before it is tried again."""

_POLL_S = 0.001
_UNHEARD_S = 0.05
_UNHEARD_MOST = 3
_log = logging.getLogger(__name__)

_Batch = tuple[bytes, int, int]
"""Encoded records, how many, and the index of the first."""


class _Order(Enum):
    """What the thread is asked for beside batches."""

    CHECK = "check"
    STOP = "stop"


class LogWriter:
    """Makes batches durable. `fd` can be read when there is something to collect. All in one thread, but for its own.

    `stalled`: a batch waits for room on the disk.
    """

    def __init__(self, log: TxnLog, writes: AsyncWrites | None) -> None:
        """`writes` is the library's way, closed by `stop`."""
        self._log = log
        self._writes = writes
        self._prepared: PreparedAppend | None = None
        self._written = 0
        self._began = 0.0
        self._unheard = 0
        self._handed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready = select.epoll()
        self._ready.register(self._handed, select.EPOLLIN)
        if writes is not None:
            self._ready.register(writes.fd, select.EPOLLIN)
        self.fd = self._ready.fileno()
        self._done: deque[int | Exception] = deque()
        self._work: queue.SimpleQueue[_Batch | _Order] = queue.SimpleQueue()
        self._checking = False
        self._stopping = threading.Event()
        self.stalled = False
        self._thread = threading.Thread(target=self._run, name="coord-log", daemon=True)
        self._thread.start()
        _log.info("the log is written by a thread of %s", "ours" if writes is None else "the C library")

    def begin(self, payload: bytes, count: int, first_index: int) -> None:
        """Write a batch of `count` encoded records; none seals the log. Nothing else may be on its way."""
        if not self._begin_in_library(payload, count, first_index):
            self._work.put((payload, count, first_index))

    def check(self) -> None:
        """Have our thread look whether the log is still in the data directory. `collect` gives the error if not."""
        if not self._checking:
            self._checking = True
            self._work.put(_Order.CHECK)

    def collect(self) -> Iterator[int | Exception]:
        """What was made durable since: the index of its last record, or why that is not known."""
        if self._prepared is not None:
            heard = self._writes is not None and self._writes.told()
            done = self._finished()
            if done is not None:
                self._unheard = 0 if heard else self._unheard + 1
                yield done
            return
        with suppress(BlockingIOError):
            os.eventfd_read(self._handed)
        if self._writes is not None:
            self._writes.forget()  # what was told too late, for a write that was looked after
        while self._done:
            yield self._done.popleft()

    def is_done_unheard(self) -> bool:
        """The library's write was done a while ago, but nobody was told. Thrice in a row, and it is not trusted more.

        The signal may have gone to a thread that does not block it, one that is older than `writes`.
        """
        writes = self._writes
        if self._prepared is None or writes is None or time.perf_counter() - self._began < _UNHEARD_S:
            return False
        if writes.in_progress() or writes.told():  # told, but this thread had no time to hear it
            return False
        if self._unheard == _UNHEARD_MOST - 1:
            _log.warning("the C library's writes are done without a signal: the log is written by a thread of ours")
        return True

    async def stop(self) -> None:
        """Let what was begun finish, seal the log, and end. Shielded by the caller, with a deadline."""
        while self._prepared is not None:  # its file must not be closed before
            await trio.sleep(_POLL_S)
            for _ in self.collect():
                pass
        self._stopping.set()
        self._work.put(_Order.STOP)
        await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)
        self._ready.close()
        os.close(self._handed)
        if self._writes is not None:
            self._writes.close()

    # the library's thread

    def _begin_in_library(self, payload: bytes, count: int, first_index: int) -> bool:
        """Whether it has begun; if not, nothing has."""
        if self._writes is None or self._unheard >= _UNHEARD_MOST:
            return False
        try:
            prepared = self._log.prepare(payload, count, first_index)
            descriptor = prepared.file.durable_descriptor() if prepared is not None else None
            if prepared is None or descriptor is None:
                return False
            self._writes.begin(descriptor, prepared.position, prepared.data)
        except (StorageError, OSError):  # our own thread will find it too, and says so
            return False
        self._prepared, self._written, self._began = prepared, 0, time.perf_counter()
        return True

    def _finished(self) -> int | Exception | None:
        """How the library's write went; None while it goes on."""
        prepared, writes = self._prepared, self._writes
        assert prepared is not None
        assert writes is not None
        try:
            written = writes.finished()
            if written is None:
                return None
            self._written += written
            if self._written < len(prepared.data):
                descriptor = prepared.file.durable_descriptor()
                if not written or descriptor is None:
                    raise OSError(0, "it takes nothing more")
                writes.begin(descriptor, prepared.position + self._written, prepared.data[self._written :])
                return None
        except OSError as error:
            self._prepared = None
            return self._log.failed(error)
        self._prepared = None
        try:
            self._log.finish(prepared, time.perf_counter() - self._began)
        except StorageError as error:
            return error
        return self._log.next_index - 1

    # our own

    def _run(self) -> None:
        try:
            while True:
                batch = self._work.get()
                if batch is _Order.STOP:
                    self._seal()
                    return
                if batch is _Order.CHECK:
                    self._log.check()
                    self._checking = False
                    continue
                payload, count, first_index = batch
                if not count:
                    self._seal()
                elif not self._append(payload, count, first_index):
                    return
                self._hand_back(first_index + count - 1)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: whatever it is goes to who collects
            self._hand_back(error)

    def _append(self, payload: bytes, count: int, first_index: int) -> bool:
        """Make a batch durable, however long the disk has no room for it; False if the server stops before."""
        while True:
            try:
                self._log.append_encoded(payload, count, first_index)
            except DiskSpaceError as error:
                if not self.stalled:
                    _log.error("%s; writes wait until there is", error)
                self.stalled = True
                if self._stopping.wait(RETRY_S):
                    return False
            else:
                self.stalled = False
                return True

    def _seal(self) -> None:
        try:
            self._log.seal()
        except DiskSpaceError as error:
            _log.warning("%s; the log is not sealed", error)

    def _hand_back(self, done: int | Exception) -> None:
        self._done.append(done)
        os.eventfd_write(self._handed, 1)


SEAL = encode_records(())
"""The payload of a batch without records."""
