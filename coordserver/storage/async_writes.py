"""Durable writes by a thread of the C library: POSIX asynchronous I/O, aio(7).

A thread of Python's that writes the log needs the interpreter's lock at both ends of each write. While it waits for
the lock, every system call of the thread that serves (each lets go of the lock) tries to wake it, mostly on another
processor (docs/benchmarks.md has what that costs). The C library has the same thing without the lock: `aio_write`
gives a write to a thread of its own and returns. The descriptor was opened with O_DSYNC, so the write is durable when
it has returned there.

That it is done is told by a signal, which a signalfd turns into something to wait for among the sockets. The signal is
blocked in the thread that makes an AsyncWrites and so in all that it starts later, and ignored, so that it cannot end
the process in a thread that is older; should it be lost there, whoever looks at `finished` now and then finds out
all the same.

The layout of struct aiocb is the C library's own affair, so that only glibc on 64 bits is spoken to here, and only
after it has written something and that was read back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coordserver.storage.layout import log_name, temporary

_SIGNAL = signal.SIGRTMIN + 9
_SIGEV_SIGNAL = 0
_SIGSET_BYTES = 128
_SIGINFO_BYTES = 128
_TRIAL_S = 2.0


class _SigEvent(ctypes.Structure):
    """struct sigevent of <signal.h>."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("padding", ctypes.c_int * 12),
    )


class _Control(ctypes.Structure):
    """struct aiocb of glibc's <aio.h>. What stands between `event` and `offset` is glibc's own."""

    _fields_ = (
        ("descriptor", ctypes.c_int),
        ("opcode", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("buffer", ctypes.c_char_p),
        ("length", ctypes.c_size_t),
        ("event", _SigEvent),
        ("next", ctypes.c_void_p),
        ("priority_within", ctypes.c_int),
        ("policy", ctypes.c_int),
        ("error", ctypes.c_int),
        ("result", ctypes.c_ssize_t),
        ("offset", ctypes.c_long),
        ("reserved", ctypes.c_char * 32),
    )


class AsyncWrites:
    """One write at a time. `fd` can be read when it is done; `finished` tells how it went. One thread uses it."""

    def __init__(self) -> None:
        """Raises OSError where the system has it not. Call it in the main thread, before others are started."""
        if ctypes.sizeof(ctypes.c_void_p) != 8 or not _is_glibc():
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        # A PyDLL keeps the interpreter's lock: none of these calls waits for anything.
        library = ctypes.PyDLL(None, use_errno=True)
        self._write: Callable[[object], int] = library.aio_write
        self._error: Callable[[object], int] = library.aio_error
        self._return = library.aio_return
        self._return.restype = ctypes.c_ssize_t
        self._control = _Control()
        self._control.event.signo = _SIGNAL
        self._control.event.notify = _SIGEV_SIGNAL
        self._reference = ctypes.byref(self._control)
        self._data = b""
        self.busy = False
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL})
        signal.signal(_SIGNAL, signal.SIG_IGN)
        wanted = ctypes.create_string_buffer(_SIGSET_BYTES)
        library.sigemptyset(wanted)
        library.sigaddset(wanted, int(_SIGNAL))
        self.fd: int = library.signalfd(-1, wanted, os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            self._restore()
            raise OSError(code := ctypes.get_errno(), os.strerror(code))
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    @classmethod
    def tried(cls, directory: Path) -> AsyncWrites | None:
        """One that has written to a file of this directory, or None where that did not work."""
        try:
            writes = cls()
        except (OSError, AttributeError, ValueError):  # the last: not in the main thread
            return None
        try:
            if writes._try(directory):
                return writes
        except OSError:
            pass
        writes.close()
        return None

    def begin(self, descriptor: int, offset: int, data: bytes) -> None:
        """Begin to write `data` at `offset`; not all of it may get there. Raises OSError if nothing was begun."""
        control = self._control
        control.descriptor = descriptor
        control.buffer = self._data = data  # kept for as long as the library reads it
        control.length = len(data)
        control.offset = offset
        if self._write(self._reference) != 0:
            raise OSError(code := ctypes.get_errno(), os.strerror(code))
        self.busy = True

    def told(self, within_s: float = 0.0) -> bool:
        """Whether `fd` can be read, or can be within that time."""
        return bool(self._poll.poll(within_s * 1000))

    def in_progress(self) -> bool:
        """Whether it is still being written."""
        return self._error(self._reference) == errno.EINPROGRESS

    def finished(self) -> int | None:
        """How many bytes were written; None while that goes on. Raises OSError where it failed."""
        self.forget()
        code = self._error(self._reference)
        if code == errno.EINPROGRESS:
            return None
        self.busy = False
        written: int = self._return(self._reference)
        self._data = b""
        if code:
            raise OSError(code, os.strerror(code))
        return written

    def forget(self) -> None:
        """Take the signal away, if there is one."""
        with suppress(BlockingIOError):
            os.read(self.fd, _SIGINFO_BYTES)

    def close(self) -> None:
        """Nothing is being written any more."""
        os.close(self.fd)
        self._restore()

    def _restore(self) -> None:
        # It stays ignored: the library says that a write is done before it signals, and by default the signal would end
        # the process.
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _try(self, directory: Path) -> bool:
        path = directory / temporary(log_name(0))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DSYNC | os.O_CLOEXEC, 0o640)
        try:
            before = os.urandom(8)
            self.begin(descriptor, 5, before)
            return self.told(_TRIAL_S) and self.finished() == 8 and os.pread(descriptor, 16, 0) == bytes(5) + before
        finally:
            if self.busy:
                self._wait_for_trial()
            os.close(descriptor)
            os.unlink(path)

    def _wait_for_trial(self) -> None:
        """The file must not be closed before: its number could be another's then."""
        while self.busy:
            with suppress(OSError):
                self.finished()
            time.sleep(0.01)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (OSError, ValueError):
        return False
