"""Rows of the metadata store that cannot be read: passed over, named once in the log, counted.

Every payload column is read through `UnreadableRows.read`. A row stays known for as long as its payload is the same, so
that a poll neither parses nor names it again; when it has been repaired it is read like any other.
"""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from druidroles.metadata.errors import MetadataError
from druidroles.model.decode import ModelError, parse_json

log = logging.getLogger(__name__)

T = TypeVar("T")

# The metric's name, and one line about it.
UNREADABLE = ("metadata/unreadable/count", "Rows of the metadata store that were found not to be readable.")

KNOWN_MAX = 10_000  # of one table; of more the rest is named at each read


class UnreadableRowError(MetadataError):
    """One row that was asked for by its key cannot be read; every other can."""

    def __init__(self, table: str, key: str, fault: str) -> None:
        self.fault = fault
        super().__init__(f"{table}: row {key!a} cannot be read: {fault}")


class UnreadableRows:
    """The rows of one store that are passed over. `on_found` is called with the table when one is found."""

    def __init__(self) -> None:
        self.on_found: Callable[[str], None] | None = None
        self._known: dict[str, dict[object, tuple[int, str]]] = {}

    def count(self, table: str) -> int:
        """How many rows of a table were not readable when they were last read."""
        return len(self._known.get(table, ()))

    def counts(self) -> Counter[str]:
        """The same for all tables that have one."""
        return Counter({table: len(known) for table, known in list(self._known.items()) if known})

    def read(self, table: str, key: Any, payload: object, parse: Callable[[Any], T]) -> T | None:
        """What `parse` makes of a payload's JSON; None where it is no JSON, or `parse` raises ModelError."""
        try:
            return self.require(table, key, payload, parse)
        except UnreadableRowError:
            return None

    def require(self, table: str, key: Any, payload: object, parse: Callable[[Any], T]) -> T:
        """The same; UnreadableRowError instead of None."""
        known = self._known.get(table)
        mark = _mark(payload)
        if known and key in known and known[key][0] == mark:
            raise UnreadableRowError(table, str(key), known[key][1])
        try:
            value = parse(parse_json(payload))
        except ModelError as error:
            fault = str(error)
        except RecursionError:  # of `parse`: what json can read, our own functions may not
            fault = "nested too deeply"
        else:
            if known:
                known.pop(key, None)
            return value
        self.note(table, key, fault, mark)
        raise UnreadableRowError(table, str(key), fault)

    def note(self, table: str, key: Any, fault: str, mark: int = 0) -> None:
        """A row is passed over, for a reason that its reader has found."""
        known = self._known.setdefault(table, {})
        if known.get(key) == (mark, fault):
            return
        if key in known or len(known) < KNOWN_MAX:
            known[key] = (mark, fault)
        log.error("metadata store: row %a of %s is passed over: %s", str(key), table, fault[:500])
        if self.on_found is not None:
            self.on_found(table)


def _mark(payload: object) -> int:
    if isinstance(payload, str):
        payload = payload.encode("utf-8", "surrogatepass")
    return zlib.crc32(payload) if isinstance(payload, bytes | bytearray | memoryview) else hash(payload)
