"""What a Broker has seen served, kept in its data directory.

A segment that was served and is served nowhere now must fail a query, not count as nothing. Who was there at the time
knows; a Broker that starts afterwards would not. So what the view takes up is written down, and what it forgets is
crossed out, in a file of lines that only grows until it is written anew. Lines are written once a second and synced:
what was first served in the last second before a crash may be missing, and is then as new to the next Broker as it was
to this one.

The file belongs to what the Broker watches: one that looks elsewhere begins anew.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from druidroles.atomic_files import write_file
from druidroles.coordination.payloads import dumps
from druidroles.model.decode import as_object, need_str
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

SERVED_FORMAT = 1
FILE_NAME = "served"
INTERVAL_S = 1.0
LINES_AT_ONCE = 200  # about 2 ms
_SPARE_LINES = 1_000  # of what is crossed out, before the file is written anew

_KEPT = ("dataSource", "interval", "version", "shardSpec")


class Knowing(Protocol):
    """Who knows segments (a BrokerView)."""

    def __len__(self) -> int:
        """How many."""
        ...

    def segments(self) -> Sequence[DataSegment]:
        """All of them, as of now."""
        ...


class ServedMemory:
    """The file. `view` gives whoever notes; `watching` names what it looks at."""

    def __init__(self, directory: Path, watching: str, view: Callable[[], Knowing]) -> None:
        self._path = directory / FILE_NAME
        self._header = dumps({"format": SERVED_FORMAT, "watching": watching})
        self._view = view
        self._pending: dict[str, DataSegment | None] = {}
        self._noted = trio.Event()
        self._lines = 0
        self._sound = False

    def note(self, segment: DataSegment, known: bool) -> None:
        """The view has taken up a segment, or forgotten it; returns at once."""
        self._pending[segment.id] = segment if known else None
        self._noted.set()

    async def read(self) -> list[DataSegment]:
        """What a predecessor knew; nothing where there is no file, or none of use."""
        try:
            data = await trio.to_thread.run_sync(self._path.read_bytes)
        except FileNotFoundError:
            return []
        except OSError as fault:
            log.warning("%s cannot be read: %s", self._path, fault)
            return []
        header, *lines = data.split(b"\n")
        if header != self._header:
            log.info("%s was kept by a Broker that watched something else", self._path)
            return []
        found: dict[str, DataSegment] = {}
        damaged = 0 if lines and not lines[-1] else 1
        async for some in _in_slices(lines):
            for line in some:
                if line and not _take(line, found):
                    damaged += 1
        self._sound = not damaged
        self._lines = len(lines)
        if damaged:
            log.warning("%d lines of %s are damaged", damaged, self._path)
        return list(found.values())

    async def run(self) -> None:
        """Write down what is noted, for ever."""
        while True:
            await self._noted.wait()
            await trio.sleep(INTERVAL_S)
            self._noted = trio.Event()
            pending, self._pending = self._pending, {}
            try:
                if self._sound and self._lines + len(pending) <= 2 * len(self._view()) + _SPARE_LINES:
                    await self._append(pending)
                else:
                    await self._rewrite()
            except OSError as fault:
                log.error("%s cannot be written: %s", self._path, fault)
                self._sound = False

    async def _append(self, pending: dict[str, DataSegment | None]) -> None:
        text = bytearray()
        async for some in _in_slices(list(pending.items())):
            text += b"".join(_line(segment_id, segment) for segment_id, segment in some)
        await trio.to_thread.run_sync(_append, self._path, bytes(text))
        self._lines += len(pending)

    async def _rewrite(self) -> None:
        # What is noted meanwhile is appended afterwards; to note the same twice does no harm.
        known = self._view().segments()
        text = bytearray(self._header + b"\n")
        async for some in _in_slices(known):
            text += b"".join(_line(segment.id, segment) for segment in some)
        await trio.to_thread.run_sync(write_file, self._path, bytes(text))
        self._lines, self._sound = len(known), True


def _line(segment_id: str, segment: DataSegment | None) -> bytes:
    if segment is None:
        return dumps({"gone": segment_id}) + b"\n"
    obj = segment.to_json()
    return dumps({key: obj[key] for key in _KEPT}) + b"\n"


def _take(line: bytes, found: dict[str, DataSegment]) -> bool:
    """Follow one line; False where it is damaged."""
    try:
        obj = as_object(json.loads(line), "line")
        if "gone" in obj:
            found.pop(need_str(obj, "gone"), None)
        else:
            segment = DataSegment.from_json(obj)
            found[segment.id] = segment
    except (ValueError, RecursionError):  # ModelError is a ValueError
        return False
    return True


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


async def _in_slices(items: Sequence[Any]) -> AsyncIterator[Iterable[Any]]:
    for at in range(0, len(items), LINES_AT_ONCE):
        yield items[at : at + LINES_AT_ONCE]
        await trio.lowlevel.checkpoint()
