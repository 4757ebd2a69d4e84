"""What a terminal or a program gets to see of bytes and numbers."""

from __future__ import annotations

import gzip

import pytest

from cli.render import cell, data_fields, data_line, print_table, text_of
from cli.shell.actions import inflate


def test_text_is_shown_as_text_and_anything_else_says_so() -> None:
    assert data_fields("grüße\n".encode()) == {"data": "grüße\n"}
    assert data_fields(b"\xff\x00") == {"data": "/wA=", "encoding": "base64"}
    assert data_line(b"\xff\x00") == "base64:/wA="
    assert data_line(b"") == ""
    assert text_of(b"\x1b[2J") is None  # a terminal would obey it


def test_gzip_is_inflated_and_what_is_broken_stays_as_it_is() -> None:
    packed = gzip.compress(b'{"a":1}')
    assert inflate(packed) == b'{"a":1}'
    assert inflate(packed[:-6]) == packed[:-6]
    bomb = packed[:-4] + (1 << 31).to_bytes(4, "little")
    assert inflate(bomb) == bomb


def test_cells() -> None:
    assert [cell(value) for value in (None, 12345, 1234.56, 3.14159, "x")] == ["-", "12,345", "1,235", "3.1", "x"]


def test_a_table_in_a_pipe_is_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("T", [{"name": "x" * 300, "n": 1}, {"name": "y", "n": 22}])
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert out.splitlines()[-1].rstrip().endswith("22") or " 22" in out
