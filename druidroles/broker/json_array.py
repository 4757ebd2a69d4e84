"""Reading a JSON array of objects as it arrives: object by object, so that no big body is decoded in one go.

`json.loads` over the 50 MB that name 100,000 segments, or over a large result, would hold up the event loop for half a
second. Here each object is decoded on its own. One that has not arrived whole is tried again only when twice as much of
it is there, so that an object of any size is scanned a bounded number of times for its length.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")


class _Expect(Enum):
    START = auto()
    FIRST = auto()
    NEXT = auto()
    COMMA = auto()
    NOTHING = auto()


class JsonArrayDecoder:
    """Bytes in, objects out; ValueError for what is not a JSON array of objects."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder()
        self._expect = _Expect.START
        self._text = ""
        self._arrived: list[str] = []  # after `_text`; joined when there is enough, for each joining copies all
        self._length = 0
        self._least = 1

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Take more of the body; the objects that are whole now. To be exhausted before the next call.

        `final`: the body ends here; ValueError if the array does not.
        """
        text = self._utf8.decode(data, final)
        self._arrived.append(text)
        self._length += len(text)
        if self._length >= self._least or final:
            self._text += "".join(self._arrived)
            self._arrived.clear()
            yield from self._objects()
            self._length = len(self._text)
        if final and self._expect is not _Expect.NOTHING:
            raise ValueError("the JSON array is cut short")

    def _objects(self) -> Iterator[dict[str, Any]]:
        at = 0
        while True:
            at = self._skip_space(at)
            if at >= len(self._text):
                break
            if self._expect in (_Expect.FIRST, _Expect.NEXT) and self._text[at] == "{":
                found = self._decode(at)
                if found is None:
                    break
                at = found[1]
                self._expect = _Expect.COMMA
                yield found[0]
            else:
                self._mark(self._text[at])
                at += 1
        self._text = self._text[at:]

    def _skip_space(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return at if match is None else match.end()

    def _mark(self, char: str) -> None:
        """A character between the objects."""
        match (self._expect, char):
            case (_Expect.START, "["):
                self._expect = _Expect.FIRST
            case (_Expect.COMMA, ","):
                self._expect = _Expect.NEXT
            case (_Expect.FIRST | _Expect.COMMA, "]"):
                self._expect = _Expect.NOTHING
            case _:
                raise ValueError(f"{char!r} is out of place in a JSON array of objects")

    def _decode(self, at: int) -> tuple[dict[str, Any], int] | None:
        """The object at `at` and where it ends; None if more is needed to tell."""
        try:
            value, end = self._decoder.raw_decode(self._text, at)
        except json.JSONDecodeError:
            self._least = 2 * (len(self._text) - at)
            return None
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        self._least = 1
        return value, end
