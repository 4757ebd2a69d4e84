"""Reading an array object by object, however it is cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from druidroles.broker.json_array import JsonArrayDecoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=6)


def decode(pieces: list[bytes]) -> list[dict[str, Any]]:
    """All objects of a body that arrives in pieces."""
    decoder = JsonArrayDecoder()
    found = [item for piece in pieces for item in decoder.feed(piece)]
    return found + list(decoder.feed(b"", final=True))


@settings(max_examples=40, deadline=None)
@given(OBJECTS, st.booleans(), st.data())
def test_any_cut_gives_the_same_objects(objects: list[dict[str, Any]], spaced: bool, data: st.DataObject) -> None:
    """Between any two bytes, those of one character included."""
    body = json.dumps(objects, ensure_ascii=False, indent=1 if spaced else None).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    edges = [0, *cuts, len(body)]
    assert decode([body[start:end] for start, end in pairwise(edges)]) == objects
    assert decode([bytes([byte]) for byte in body]) == objects


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[{}",
        b"[{},",
        b"{}",
        b"[{} {}]",
        b"[,]",
        b"[{},]",
        b"[1]",
        b"[{}]x",
        b'[{"a":}]',
        b"[{}]\xff",
        b"null",
    ],
)
def test_what_is_no_array_of_objects_is_refused(body: bytes) -> None:
    """Cut short, malformed, or something else."""
    with pytest.raises(ValueError):
        decode([body])


def test_a_large_object_is_not_scanned_once_for_each_piece() -> None:
    """Tried again only when it has doubled, so the tries grow with the logarithm of the pieces."""
    decoder = JsonArrayDecoder()
    tries = 0
    raw_decode = decoder._decoder.raw_decode

    def counting(text: str, at: int) -> tuple[Any, int]:
        nonlocal tries
        tries += 1
        return raw_decode(text, at)

    decoder._decoder.raw_decode = counting  # type: ignore[method-assign, assignment]
    body = json.dumps([{"a": "x" * 1_000_000}]).encode()
    found = [item for at in range(0, len(body), 1000) for item in decoder.feed(body[at : at + 1000])]
    found += decoder.feed(b"", final=True)
    assert len(found) == 1
    assert tries < 20
