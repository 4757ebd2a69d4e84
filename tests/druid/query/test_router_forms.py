"""A query that came through Druid's own Router means what it meant before (tests/druid/query/data/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from druidroles.query.model import parse_query

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "router_forms.json").read_text())


@pytest.mark.parametrize(
    ("plain", "form"),
    [
        pytest.param(case["plain"], form, id=f"{case['name']}-{index}")
        for case in CASES
        for index, form in enumerate(case["forms"])
    ],
)
def test_a_rewritten_query_is_the_same_query(plain: Any, form: Any) -> None:
    """Both are read to the same value, and so is what a data server gets of them."""
    query, rewritten = parse_query(plain), parse_query(form)
    assert rewritten == query
    again = parse_query(rewritten.for_segments(rewritten.segments or (), rewritten.timeout_ms))
    assert again == parse_query(query.for_segments(query.segments or (), query.timeout_ms))
