"""Scan queries: rows as they are, segment by segment.

Pieces are read in the order of their time (backwards for descending order), so that reading ends with the piece that
fills the limit. Pieces of one time chunk, which are its partitions, are merged by time where an order is asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from druidroles.query.errors import ResourceLimitError
from druidroles.query.model import ScanQuery
from druidroles.query.relation import TIME, Piece, Relation
from druidroles.query.rows import json_value
from druidroles.query.sql import Statement
from druidroles.query.sqltext import Parameters, quoted

SCAN_ROWS_MAX = 250_000  # of one query on one server: what is gathered in memory before it is sent

Fetch = Callable[[Statement, int], list[Any]]
Tagged = tuple[int, str, tuple[str, ...], Sequence[Any]]  # time, segment, columns, row


def scan(query: ScanQuery, relation: Relation, fetch: Fetch) -> list[dict[str, Any]]:
    """The batches of one server: up to offset + limit rows, for the Broker cuts what is before the offset."""
    wanted = query.offset + query.limit if query.limit else 0
    most = min(wanted, SCAN_ROWS_MAX) if wanted else SCAN_ROWS_MAX
    rows = list(islice(_all_rows(query, relation, fetch, most + 1), most + 1))
    if len(rows) > most and most != wanted:
        raise ResourceLimitError(f"the scan makes more than {SCAN_ROWS_MAX} rows on one server; narrow it or limit it")
    return batches(query, rows[:most])


def _all_rows(query: ScanQuery, relation: Relation, fetch: Fetch, most: int) -> Iterator[Tagged]:
    def chunk(piece: Piece) -> tuple[int, int]:
        interval = piece.descriptor.interval
        return interval.start_ms, interval.end_ms

    pieces = sorted(relation.pieces, key=lambda piece: (chunk(piece), piece.descriptor.partition))
    if query.order < 0:
        pieces.reverse()
    for _, together in groupby(pieces, key=chunk):
        parts = [_piece_rows(query, relation, piece, fetch, most) for piece in together]
        if query.order:
            yield from heapq.merge(*parts, key=lambda row: row[0] * query.order)
        else:
            for part in parts:
                yield from part


def _piece_rows(query: ScanQuery, relation: Relation, piece: Piece, fetch: Fetch, most: int) -> Iterator[Tagged]:
    names = query.names or tuple(relation.schemas[piece.path])
    parameters = Parameters()
    own = Relation([piece], relation.schemas)
    source = own.sql(lambda columns: [columns(name).sql for name in names], query.filter, parameters)
    order = "" if not query.order else f" ORDER BY {quoted(TIME)} {'ASC' if query.order > 0 else 'DESC'}"
    limit = parameters.add(most, "BIGINT")
    rows = fetch(Statement(f"{source}{order} LIMIT {limit}", parameters), most)
    segment = piece.served.segment.id
    return ((row[0], segment, names, row[1:]) for row in rows)


def batches(query: ScanQuery, rows: Iterable[Tagged]) -> list[dict[str, Any]]:
    """Rows as Druid's scan results: runs of one segment, at most batchSize rows each."""
    results = []
    for (segment, names), run in groupby(rows, key=lambda row: (row[1], row[2])):
        while batch := list(islice(run, query.batch_size)):
            values = ([json_value(value) for value in row[3]] for row in batch)
            events = list(values) if query.compacted else [dict(zip(names, row, strict=True)) for row in values]
            results.append({"segmentId": segment, "columns": list(names), "events": events})
    return results
