"""Reading a query's JSON: typed fields, and errors that name where in the query they are.

Nothing that changes an answer is ever ignored: a field of Druid's that is not supported and holds something is refused.
Keys that Druid itself would not know are ignored, as Jackson is told to there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.model.decode import whole_number
from druidroles.query.errors import BadContextError, BadQueryError, UnsupportedQueryError

NUMBER_CHARACTERS_MAX = 100  # of a number that is given as text; a double has 24 at most
DEPTH_MAX = 64  # of filters in filters; far beyond what people write, far below Python's recursion limit


@attrs.frozen
class Fields:
    """A JSON object of the query and the path that leads to it, such as `filter.fields[2]`."""

    values: Mapping[str, Any]
    path: str = ""
    depth: int = 0

    @classmethod
    def of(cls, value: Any, path: str, depth: int = 0) -> Fields:
        """The object `value`; BadQueryError if it is something else, or nested too deeply."""
        if depth > DEPTH_MAX:
            raise BadQueryError(f"{path.partition('.')[0]} is nested more than {DEPTH_MAX} deep")
        if not isinstance(value, Mapping):
            raise BadQueryError(f"{path or 'the query'} must be an object")
        return cls(value, path, depth)

    def bad(self, message: str) -> BadQueryError:
        """What to raise for a malformed field: in the context it has a code of its own."""
        return BadContextError(message) if self.path == "context" else BadQueryError(message)

    def at(self, key: str) -> str:
        """The path of one of its fields."""
        return f"{self.path}.{key}" if self.path else key

    def need_str(self, key: str) -> str:
        """A string that must be there."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.bad(f"{self.at(key)} must be a string" if key in self.values else f"{self.at(key)} is missing")
        return value

    def opt_str(self, key: str) -> str | None:
        """A string, or None where it is missing or null."""
        return None if self.values.get(key) is None else self.need_str(key)

    def boolean(self, key: str, default: bool = False) -> bool:
        """A boolean; Druid also takes it as text, as in `"descending": "true"`."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise self.bad(f"{self.at(key)} must be true or false")
        return value

    def integer(self, key: str, default: int, *, least: int = 0) -> int:
        """A whole number of at least `least`; Druid also takes it as text."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, str):
            value = whole_number(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(f"{self.at(key)} must be a whole number")
        if value < least:
            raise self.bad(f"{self.at(key)} must be at least {least}, not {value}")
        return value

    def need_integer(self, key: str, *, least: int = 0) -> int:
        """A whole number that must be there."""
        if self.values.get(key) is None:
            raise self.bad(f"{self.at(key)} is missing")
        return self.integer(key, least, least=least)

    def need_number(self, key: str) -> int | float:
        """A number that must be there; Druid also takes it as text."""
        value = self.values.get(key)
        if isinstance(value, str):
            value = _number(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(f"{self.at(key)} must be a number")
        return value

    def items(self, key: str) -> list[Any]:
        """An array, empty where it is missing or null."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(f"{self.at(key)} must be an array")
        return value

    def inner(self, key: str) -> Fields:
        """The object at `key`."""
        if self.values.get(key) is None:
            raise self.bad(f"{self.at(key)} is missing")
        return Fields.of(self.values[key], self.at(key), self.depth + 1)

    def inners(self, key: str) -> list[Fields]:
        """The objects of the array at `key`."""
        return [
            Fields.of(item, f"{self.at(key)}[{index}]", self.depth + 1) for index, item in enumerate(self.items(key))
        ]

    def refuse(self, *keys: str) -> None:
        """UnsupportedQueryError if one of these holds anything but null, false or emptiness."""
        for key in keys:
            value = self.values.get(key)
            if value not in (None, False, "", [], {}) and not (isinstance(value, str) and value.lower() == "false"):
                raise UnsupportedQueryError(f"{self.at(key)} is not supported")

    def keeps_values(self) -> bool:
        """Whether `extractionFn` is identity, which Druid's Router writes where a query gave none."""
        function = self.values.get("extractionFn")
        return isinstance(function, Mapping) and function.get("type") == "identity"

    def refuse_extraction(self) -> None:
        """UnsupportedQueryError if `extractionFn` changes values."""
        if not self.keeps_values():
            self.refuse("extractionFn")

    def comparator(self, key: str) -> str | None:
        """The name of an order of strings in lower case, given as text or as `{"type": name}`; None where missing."""
        if isinstance(self.values.get(key), Mapping):
            return self.inner(key).need_str("type").lower()
        name = self.opt_str(key)
        return None if name is None else name.lower()

    def text(self, key: str) -> str | None:
        """A scalar as the string that Druid would compare with; None for null."""
        return scalar_text(self.values.get(key), self.at(key))


def _number(text: str) -> int | float | None:
    if len(text) > NUMBER_CHARACTERS_MAX:
        return None
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return None


def scalar_text(value: Any, path: str) -> str | None:
    """A JSON scalar as Jackson makes a string of it; BadQueryError for arrays and objects."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise BadQueryError(f"{path} must be a string, a number or null")
