"""Results as JSON in pieces: the same text as at once, whatever their shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from druidroles.query.encode import ROWS_AT_ONCE, encode_results, pieces_of

MANY = ROWS_AT_ONCE * 2 + 1


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{"timestamp": "t", "result": {"n": None}}],
        [{"timestamp": "t", "result": {"n": n}} for n in range(MANY)],
        [{"timestamp": "t", "result": [{"n": n} for n in range(MANY)]}] * 2,
        [{"timestamp": "t", "result": []}] * MANY,
        [{"segmentId": "é", "columns": ["a"], "events": [[1]] * size} for size in (0, MANY, 1, 1, MANY, ROWS_AT_ONCE)],
        [{"version": "v1", "event": {"events": 'q"'}}] * 3,
    ],
    ids=["none", "one", "buckets", "long topN", "empty buckets", "scan", "names"],
)
async def test_pieces_make_the_whole(results: list[dict[str, Any]]) -> None:
    """Byte for byte what one call would make."""
    assert (await encode_results(results)).decode() == json.dumps(results, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    "results",
    [
        [{"result": {"row": n}} for n in range(MANY)],
        [{"result": [{"row": n} for n in range(MANY)]}] * 2,
        [{"result": [{"row": n} for n in range(7)]}] * MANY,
    ],
    ids=["outside", "inside", "both"],
)
def test_no_piece_is_long(results: list[dict[str, Any]]) -> None:
    """Others have their turn every so many rows, wherever the rows lie; and pieces are not needlessly short."""
    rows = [piece.count("row") for piece in pieces_of(results)]
    assert max(rows) <= ROWS_AT_ONCE + 1
    assert len(rows) <= 4 + 2 * sum(rows) / ROWS_AT_ONCE + 2 * len([row for row in results if len(row["result"]) > 7])
