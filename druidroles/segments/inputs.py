"""Where the input of an ingestion lies and how it is written: Druid's input sources and input formats."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from druidroles.model.decode import get_bool, get_int, get_list, need_str, opt_str
from druidroles.segments.errors import InputError, SpecError

FILES_MAX = 10_000


@attrs.frozen
class LocalSource:
    """Files on this machine (LocalInputSource): those named, or those below a directory whose name fits a pattern."""

    base_dir: str | None
    pattern: str
    names: tuple[str, ...]

    def files(self, work_dir: Path, allowed: Sequence[Path] | None = None) -> list[Path]:
        """The files, sorted, with their symbolic links followed; InputError where there are none.

        `allowed` are the directories that input may come from; None: any. A file elsewhere is an InputError.
        """
        found = [_permitted(Path(name), "files", allowed) for name in self.names]
        for path in found:
            if not path.is_file():
                raise InputError(f"inputSource.files: there is no file {path}")
        if self.base_dir is not None:
            base = _permitted(Path(self.base_dir), "baseDir", allowed)
            found += [_permitted(path, "baseDir", allowed) for path in self._below(base)]
        if not found:
            raise InputError(f"inputSource: no file in {self.base_dir} fits {self.pattern!r}")
        return sorted(found)

    def _below(self, base: Path) -> Iterator[Path]:
        if not base.is_dir():
            raise InputError(f"inputSource.baseDir: there is no directory {base}")
        count = 0
        for path in base.rglob("*"):
            if path.is_file() and fnmatch.fnmatchcase(path.name, self.pattern):
                count += 1
                if count > FILES_MAX:
                    raise InputError(f"inputSource: more than {FILES_MAX} files in {base} fit {self.pattern!r}")
                yield path


@attrs.frozen
class InlineSource:
    """Data within the spec (InlineInputSource)."""

    data: str

    def files(self, work_dir: Path, allowed: Sequence[Path] | None = None) -> list[Path]:
        """The data as a file, which is ours."""
        path = work_dir / "inline.data"
        path.write_text(self.data, encoding="utf-8")
        return [path]


def _permitted(path: Path, field: str, allowed: Sequence[Path] | None) -> Path:
    """The path that symbolic links lead to; InputError where that is in no directory that is allowed."""
    try:
        real = path.resolve()
        permitted = allowed is None or any(real.is_relative_to(directory.resolve()) for directory in allowed)
    except (OSError, RuntimeError, ValueError) as fault:  # a loop of links, a name that no file can have
        raise InputError(f"inputSource.{field}: {str(path)!r} cannot be read: {fault}") from None
    if not permitted:
        where = ", ".join(map(str, allowed or ())) or "none"
        raise InputError(
            f"inputSource.{field}: {path} is in no directory that local input may come from ({where}); "
            "the MiddleManager's --input-dir names them"
        )
    return real


InputSource = LocalSource | InlineSource


@attrs.frozen
class InputFormat:
    """Delimited text (CsvInputFormat, DelimitedInputFormat). `columns` empty: they are named in the first line."""

    delimiter: str
    columns: tuple[str, ...]
    skip_lines: int
    has_header: bool


def parse_input_source(obj: Mapping[str, Any]) -> InputSource:
    """Read `inputSource`; SpecError for what is not supported."""
    kind = need_str(obj, "type")
    if kind == "inline":
        return InlineSource(need_str(obj, "data"))
    if kind != "local":
        raise SpecError(f"inputSource.type {kind!r} is not supported; there are local, inline")
    base, names = opt_str(obj, "baseDir"), tuple(str(name) for name in get_list(obj, "files"))
    if (base is None) == (not names):
        raise SpecError("inputSource must have either baseDir or files")
    return LocalSource(base, opt_str(obj, "filter") or "*", names)


def parse_input_format(obj: Mapping[str, Any]) -> InputFormat:
    """Read `inputFormat`; SpecError for what is not supported."""
    kind = need_str(obj, "type")
    if kind not in ("csv", "tsv"):
        raise SpecError(f"inputFormat.type {kind!r} is not supported; there are csv, tsv")
    if obj.get("listDelimiter") is not None:
        raise SpecError("inputFormat.listDelimiter is not supported: columns have one value a row")
    delimiter = "," if kind == "csv" else opt_str(obj, "delimiter") or "\t"
    if len(delimiter) != 1:
        raise SpecError(f"inputFormat.delimiter {delimiter!r} must be one character")
    columns = tuple(str(name) for name in get_list(obj, "columns"))
    header = get_bool(obj, "findColumnsFromHeader", False)
    if not columns and not header:
        raise SpecError("inputFormat must have columns, or findColumnsFromHeader")
    # As in Druid a header that is found wins nothing over columns that are given: it is only skipped.
    return InputFormat(delimiter, columns, get_int(obj, "skipHeaderRows", 0), header)
