"""Java's properties, by the rules of java.util.Properties.load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordserver.config.properties import parse_properties


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("# c\n! c\n\n  \t\n", {}),
        ("a=1\nb:2\nc 3\nd\t=\t4\ne\n", {"a": "1", "b": "2", "c": "3", "d": "4", "e": ""}),
        ("  a = 1 \r\nb=2\rc=3", {"a": "1 ", "b": "2", "c": "3"}),
        ("a==1\nb=:2\nc = = 3", {"a": "=1", "b": ":2", "c": "= 3"}),
        ("a=1\\\n   2\\\n\t3\nb=4", {"a": "123", "b": "4"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a\\ b\\=c=d", {"a b=c": "d"}),
        ("a=\\u0041\\t\\q", {"a": "A\tq"}),
        ("a=1\\\n# not a comment", {"a": "1# not a comment"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=1\\", {"a": "1"}),
    ],
)
def test_pairs(text: str, pairs: dict[str, str]) -> None:
    assert parse_properties(text) == pairs


@given(st.text())
def test_anything_is_some_properties(text: str) -> None:
    parse_properties(text)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_escaped_comes_back(pairs: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        return "".join(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char for char in text)

    assert parse_properties("\n".join(f"{escaped(key)}={escaped(value)}" for key, value in pairs.items())) == pairs
