"""The relation that a query reads: pieces of segment files, put together as one set of typed values.

Segments of one data source need not have the same columns, nor the same type for a column, because a schema changes
over time. As in Druid each segment answers by its own: filters compare, and values are made, in terms of its columns,
and only what comes out has one type. So pieces are gathered by schema and by the interval that is wanted of them, each
gathering is read in one scan, and the scans are joined by UNION ALL. Most queries have one gathering of whole segments
and at most two that are cut by the query's ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from druidroles.model.interval import Interval
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.filters import Filter
from druidroles.query.source import ServedSegment
from druidroles.query.sql_filters import Columns, filter_sql
from druidroles.query.sqltext import Column, Parameters, parquet, quoted

TIME = "__time"

Schema = Mapping[str, str]  # column -> BIGINT, DOUBLE or VARCHAR, in the order of the file
Outputs = Callable[[Columns], Sequence[str]]  # SQL expressions over the columns of a segment


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


def column_of(schema: Schema, name: str) -> Column:
    """How SQL says a column of such a segment; one that it has not is a string column of nulls."""
    kind = schema.get(name)
    return Column("CAST(NULL AS VARCHAR)", "VARCHAR") if kind is None else Column(quoted(name), kind)


@attrs.frozen
class Relation:
    """Pieces as one relation."""

    pieces: Sequence[Piece]
    schemas: Mapping[Path, Schema]

    def sql(self, outputs: Outputs, condition: Filter | None, parameters: Parameters) -> str:
        """A SELECT, over the rows of all pieces that meet the condition, of the time as __time and of the outputs as
        x0, x1, ...
        """
        gathered: dict[tuple[int, Interval | None], list[Piece]] = {}
        for piece in self.pieces:
            gathered.setdefault((id(self.schemas[piece.path]), piece.cut), []).append(piece)
        return " UNION ALL ".join(
            self._scan(pieces, cut, outputs, condition, parameters) for (_, cut), pieces in gathered.items()
        )

    def _scan(
        self,
        pieces: Sequence[Piece],
        cut: Interval | None,
        outputs: Outputs,
        condition: Filter | None,
        parameters: Parameters,
    ) -> str:
        schema, time = self.schemas[pieces[0].path], quoted(TIME)

        def columns(name: str) -> Column:
            return column_of(schema, name)

        selected = ", ".join([time, *(f"{sql} AS x{number}" for number, sql in enumerate(outputs(columns)))])
        conditions = [] if condition is None else [filter_sql(condition, columns, parameters)]
        if cut is not None:
            low, high = parameters.add(cut.start_ms, "BIGINT"), parameters.add(cut.end_ms, "BIGINT")
            conditions.append(f"{time} >= {low} AND {time} < {high}")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {selected} FROM {parquet([piece.path for piece in pieces], parameters)}{where}"
