"""Reading JSON that somebody else wrote: what is refused, and what is taken because Jackson takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from druidroles.model.decode import ModelError, get_bool, get_int, need_int, only_keys, parse_json


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"\x00\x01", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"NaN", "NaN is no number"),
        (b'{"a": -Infinity}', "Infinity is no number"),
        (b"1e999", "out of range"),
        (b"1" * 5_000, "not JSON"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
        (5, "not JSON: int instead of text"),
        (None, "not JSON: NoneType"),
    ],
)
def test_what_is_no_json_is_one_error(data: object, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        parse_json(data)


@pytest.mark.parametrize("data", [b"null", b"[]", b"5", '"\\u00fc"', b'"\\ud83d\\ude00"', "[1.5, 1e300]"])
def test_what_is_read_can_be_written_again(data: bytes | str) -> None:
    json.dumps(parse_json(data), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(("value", "number"), [("18723", 18723), (" -7 ", -7), ("+5", 5), (0.0, 0), (18723.9, 18723)])
def test_integers_are_taken_as_jackson_takes_them(value: Any, number: int) -> None:
    assert need_int({"x": value}, "x") == number
    assert get_int({"x": value}, "x", 1) == number


@pytest.mark.parametrize("value", ["", "x", "1.0", "1e3", "9" * 20, "٣", True, [], {}, 1e300])
def test_what_jackson_makes_no_integer_of_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="x is not an integer"):
        need_int({"x": value}, "x")


@pytest.mark.parametrize(("value", "flag"), [("true", True), ("False", False), (0, False), (2, True)])
def test_booleans_are_taken_as_jackson_takes_them(value: Any, flag: bool) -> None:
    assert get_bool({"x": value}, "x", not flag) is flag


def test_unknown_keys_are_named() -> None:
    only_keys({"a": 1}, ("a", "b"), "the body")
    with pytest.raises(ModelError, match=r"the body has unknown keys: 'c' \(known: a, b\)"):
        only_keys({"a": 1, "c": None}, ("a", "b"), "the body")
