"""A log on a real directory, and the C library's writes played, for tests of who writes it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import trio

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.server.log_writer import LogWriter
from coordserver.storage import recover_state
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.file_disk import FileDisk
from coordserver.storage.record_format import encode_records
from coordserver.storage.txnlog import TxnLog

SEGMENT_BYTES = 64 * 1024


class PlayedWrites(AsyncWrites):
    """The library, played: it writes at most `most` bytes of each, fails with `failure`, and signals if it `tells`."""

    def __init__(self, *, most: int = 1 << 30, failure: int = 0, tells: bool = True) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.begun: list[tuple[int, int]] = []
        self._most = most
        self._failure = failure
        self._tells = tells
        self._result = 0

    def begin(self, descriptor: int, offset: int, data: bytes) -> None:
        self.begun.append((offset, len(data)))
        self._result = os.pwrite(descriptor, data[: self._most], offset)
        if self._tells:
            os.eventfd_write(self.fd, 1)

    def in_progress(self) -> bool:
        return False

    def told(self, within_s: float = 0.0) -> bool:
        return self._tells

    def forget(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def finished(self) -> int:
        if self._tells:
            os.eventfd_read(self.fd)
        if self._failure:
            raise OSError(self._failure, os.strerror(self._failure))
        return self._result

    def close(self) -> None:
        os.close(self.fd)


def opened(tmp_path: Path) -> TxnLog:
    return recover_state(FileDisk(tmp_path), Machine, segment_bytes=SEGMENT_BYTES).log


def recovered(tmp_path: Path) -> Machine:
    found = recover_state(FileDisk(tmp_path), Machine, segment_bytes=SEGMENT_BYTES)
    found.log.close()
    return found.machine


def batch(log: TxnLog, size: int = 100) -> tuple[bytes, int, int]:
    index = log.next_index
    record = Record(int(Op.CREATE), 0, 0, 0, index, (), (f"/n{index}", b"x" * size, None, 0, 0))
    return encode_records((record,)), 1, index


async def collected(writer: LogWriter) -> list[int | Exception]:
    with trio.fail_after(20):
        while True:
            await trio.lowlevel.wait_readable(writer.fd)
            done = list(writer.collect())
            if done:
                return done
