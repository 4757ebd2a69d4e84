"""Pieces of SQL that are safe by construction: values travel as parameters, names are quoted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from druidroles.segments.format import exactly
from druidroles.segments.numbers import text_as_double, text_as_long


@attrs.define
class Parameters:
    """The values of one statement, by name. No value ever becomes part of the text."""

    values: dict[str, Any] = attrs.field(factory=dict)

    def add(self, value: Any, kind: str = "") -> str:
        """Keep a value; the SQL that stands for it, cast to `kind` if one is given."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"CAST(${name} AS {kind})" if kind else f"${name}"


def parquet(paths: Sequence[Path], parameters: Parameters) -> str:
    """The table function that reads these files; what names of directories look like means nothing."""
    return f"read_parquet({parameters.add([exactly(path) for path in paths])}, hive_partitioning = false)"


def quoted(name: str) -> str:
    """A name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


@attrs.frozen
class Column:
    """A column of the relation that is read: the SQL that names it, and its type: BIGINT, DOUBLE or VARCHAR."""

    sql: str
    type: str

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return self.type == "VARCHAR"

    @property
    def as_text(self) -> str:
        """Its value as a string."""
        return self.sql if self.is_text else f"CAST({self.sql} AS VARCHAR)"

    @property
    def as_long(self) -> str:
        """Its value as a long; doubles are cut, as by a cast in Java."""
        match self.type:
            case "BIGINT":
                return self.sql
            case "DOUBLE":
                return f"TRY_CAST(trunc({self.sql}) AS BIGINT)"
        return text_as_long(self.sql)

    @property
    def as_double(self) -> str:
        """Its value as a double."""
        match self.type:
            case "DOUBLE":
                return self.sql
            case "BIGINT":
                return f"CAST({self.sql} AS DOUBLE)"
        return text_as_double(self.sql)

    @property
    def as_number(self) -> str:
        """Its value as a number for comparisons."""
        return text_as_double(self.sql) if self.is_text else self.sql
