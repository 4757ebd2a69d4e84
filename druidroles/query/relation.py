"""The relation that a query reads: pieces of segment files, put together as one set of typed columns.

Segments of one data source need not have the same columns, nor the same type for a column, because a schema changes
over time. So pieces are gathered by schema and by the interval that is wanted of them, each gathering is read in one
scan with its columns cast to the common type, and the scans are joined by UNION ALL. Most queries have one gathering of
whole segments and at most two that are cut by the query's ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from druidroles.model.interval import Interval
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.source import ServedSegment
from druidroles.query.sqltext import Column, Parameters, parquet, quoted

TIME = "__time"

Schema = Mapping[str, str]  # column -> BIGINT, DOUBLE or VARCHAR, in the order of the file


@attrs.frozen
class Piece:
    """A piece of a segment that a query is to read."""

    descriptor: SegmentDescriptor
    served: ServedSegment

    @property
    def path(self) -> Path:
        """The file."""
        return self.served.path

    @property
    def cut(self) -> Interval | None:
        """The interval wanted, None where it is the whole segment."""
        wanted, whole = self.descriptor.interval, self.served.segment.interval
        return None if wanted.contains(whole) else wanted


def common_type(types: Iterable[str]) -> str:
    """The type that holds values of all these: longs and doubles meet as DOUBLE, anything else as VARCHAR."""
    distinct = set(types)
    if len(distinct) == 1:
        return distinct.pop()
    return "DOUBLE" if distinct == {"BIGINT", "DOUBLE"} else "VARCHAR"


def column_types(schemas: Iterable[Schema]) -> dict[str, str]:
    """The columns of all the schemas with their common types, in the order they are first seen."""
    found: dict[str, list[str]] = {}
    for schema in schemas:
        for name, kind in schema.items():
            found.setdefault(name, []).append(kind)
    return {name: common_type(kinds) for name, kinds in found.items()}


@attrs.define
class Relation:
    """Pieces as one relation. `column` resolves a name; one that no segment has is a string column of nulls.

    Columns are called by number within the relation (x0, x1, ...; the time by its name), because names that differ by
    case alone are two columns to Druid and one to SQL.
    """

    pieces: Sequence[Piece]
    schemas: Mapping[Path, Schema]
    types: dict[str, str] = attrs.field(init=False)
    _aliases: dict[str, str] = attrs.field(init=False)

    @types.default
    def _find_types(self) -> dict[str, str]:
        return column_types({id(schema): schema for schema in self.schemas.values()}.values())

    @_aliases.default
    def _find_aliases(self) -> dict[str, str]:
        return {name: quoted(TIME) if name == TIME else f"x{number}" for number, name in enumerate(self.types)}

    def column(self, name: str) -> Column:
        """How SQL over this relation says the column."""
        kind = self.types.get(name)
        return Column("CAST(NULL AS VARCHAR)", "VARCHAR") if kind is None else Column(self._aliases[name], kind)

    def sql(self, names: Iterable[str], parameters: Parameters) -> str:
        """A SELECT of these columns, and of the time, over all pieces."""
        wanted = [name for name in self.types if name in {TIME, *names}]
        gathered: dict[tuple[int, Interval | None], list[Piece]] = {}
        for piece in self.pieces:
            gathered.setdefault((id(self.schemas[piece.path]), piece.cut), []).append(piece)
        scans = [
            self._scan(wanted, self.schemas[pieces[0].path], cut, [piece.path for piece in pieces], parameters)
            for (_, cut), pieces in gathered.items()
        ]
        return " UNION ALL ".join(scans)

    def _scan(
        self, wanted: list[str], schema: Schema, cut: Interval | None, paths: list[Path], parameters: Parameters
    ) -> str:
        outputs = []
        for name in wanted:
            kind = self.types[name]
            sql = quoted(name) if name in schema else "NULL"
            if schema.get(name) != kind:
                sql = f"CAST({sql} AS {kind})"
            outputs.append(f"{sql} AS {self._aliases[name]}")
        where = ""
        if cut is not None:
            low, high = parameters.add(cut.start_ms, "BIGINT"), parameters.add(cut.end_ms, "BIGINT")
            where = f" WHERE {quoted(TIME)} >= {low} AND {quoted(TIME)} < {high}"
        return f"SELECT {', '.join(outputs)} FROM {parquet(paths, parameters)}{where}"
