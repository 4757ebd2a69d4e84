"""What a path may be, beside a twin that goes by the rules of ZooKeeper's PathUtils.validatePath, name by name."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coordserver.core.model.paths import is_valid, is_valid_name

SPECIAL = st.sampled_from(["/", ".", "..", "//", "/.", "/../", " ", "~", "\x7f", "\x00", "\x1f", "\x9f", "é", "\ue000"])
PIECES = st.lists(st.one_of(SPECIAL, st.text(max_size=3)), max_size=6).map("".join)


def legal(path: str) -> bool:
    if path == "/":
        return True
    if not path.startswith("/") or path.endswith("/"):
        return False
    names = path.split("/")[1:]
    return all(name not in ("", ".", "..") and not any(map(forbidden, name)) for name in names)


def forbidden(character: str) -> bool:
    code = ord(character)
    return code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or code >= 0xFFF0


@given(PIECES)
@example("/a b~")
@example("/.a/..b")
@example("/a.")
def test_a_path_is_legal_by_the_rules(path: str) -> None:
    assert is_valid(path) == legal(path)
    assert is_valid("/" + path) == legal("/" + path)


@given(PIECES)
@example("..")
@example(".a")
def test_a_name_is_legal_where_its_path_is(name: str) -> None:
    assert is_valid_name(name) == (legal("/" + name) and "/" not in name and name != "")


@pytest.mark.parametrize("path", ["/a\n", "/a\x7f", "/a/", "/", "", "a", "/a//b", "/./a", "/a/..", "/...", "/a/.b"])
def test_paths_at_the_edge(path: str) -> None:
    assert is_valid(path) == legal(path)
