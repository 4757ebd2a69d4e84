"""The columns of the input files: given by the spec, or found in each file's own header line.

Headers are read here and not left to DuckDB's guessing, so that every option of the reading is known; and because
files of one input need not have the same columns. Files are gathered by their columns, each gathering is read at once.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from druidroles.segments.errors import InputError
from druidroles.segments.inputs import InputFormat

HEADER_BYTES_MAX = 1 << 20
_COMPRESSED = {".bz2", ".xz", ".zst", ".zip", ".lz4", ".snappy", ".z"}

Columns = tuple[str, ...]


def files_by_columns(files: Sequence[Path], form: InputFormat) -> Mapping[Columns, list[Path]]:
    """The files with the same columns, in the order of the columns' first file. Files that are empty are left out."""
    gathered: dict[Columns, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in _COMPRESSED:
            raise InputError(f"{path} is compressed in a way that is not supported; there is gzip (.gz)")
        columns = form.columns or _header(path, form)
        if columns:
            gathered.setdefault(columns, []).append(path)
    return gathered


def _header(path: Path, form: InputFormat) -> Columns:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for _ in range(form.skip_lines):
                file.readline(HEADER_BYTES_MAX)
            line = file.readline(HEADER_BYTES_MAX).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
        raise InputError(f"the header of {path} cannot be read: {fault}") from None
    if len(line) >= HEADER_BYTES_MAX:
        raise InputError(f"the header of {path} is over the limit of {HEADER_BYTES_MAX} bytes")
    cells = next(csv.reader([line.rstrip("\r\n")], delimiter=form.delimiter), [])
    # As in Druid a column without a name is called by its place.
    names = tuple(cell or f"column_{number}" for number, cell in enumerate(cells, 1))
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the header of {path} names the column {name!r} twice")
    return names
