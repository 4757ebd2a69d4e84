"""Filters: which rows a query counts. Three-valued logic as in SQL, which Druid has by default since 28: what compares
with null is unknown, and `not` of unknown is unknown, so such a row is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import attrs

from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.fields import Fields, scalar_text


@attrs.frozen
class Selector:
    """The column has the value; null matches null (Druid's SelectorDimFilter)."""

    column: str
    value: str | None


@attrs.frozen
class IsNull:
    """The column is null (NullFilter)."""

    column: str


@attrs.frozen
class In:
    """The column has one of the values, among which null may be (InDimFilter)."""

    column: str
    values: tuple[str | None, ...]


class Ordering(Enum):
    """How a bound compares (StringComparators)."""

    LEXICOGRAPHIC = "lexicographic"
    NUMERIC = "numeric"


@attrs.frozen
class Bound:
    """The column lies between the ends; an end that is None is open (BoundDimFilter)."""

    column: str
    lower: str | None
    upper: str | None
    lower_strict: bool
    upper_strict: bool
    ordering: Ordering


@attrs.frozen
class And:
    """All of them."""

    fields: tuple[Filter, ...]


@attrs.frozen
class Or:
    """At least one of them."""

    fields: tuple[Filter, ...]


@attrs.frozen
class Not:
    """Not that one; what is unknown stays unknown."""

    field: Filter


Filter = Selector | IsNull | In | Bound | And | Or | Not


def parse_filter(fields: Fields) -> Filter:
    """Read a filter. BadQueryError names a malformed field, UnsupportedQueryError a type that is not there."""
    kind = fields.need_str("type")
    parser = _PARSERS.get(kind)
    if parser is None:
        raise UnsupportedQueryError(
            f"{fields.at('type')}: filter type {kind!r} is not supported; there are {', '.join(sorted(_PARSERS))}"
        )
    return parser(fields)


def optional_filter(fields: Fields, key: str = "filter") -> Filter | None:
    """The filter at `key`, None where there is none."""
    return None if fields.values.get(key) is None else parse_filter(fields.inner(key))


def _selector(fields: Fields) -> Filter:
    fields.refuse_extraction()
    return Selector(fields.need_str("dimension"), fields.text("value"))


def _null(fields: Fields) -> Filter:
    return IsNull(fields.need_str("column"))


def _in(fields: Fields) -> Filter:
    fields.refuse_extraction()
    if fields.values.get("values") is None:
        raise BadQueryError(f"{fields.at('values')} is missing")
    values = (scalar_text(item, f"{fields.at('values')}[{n}]") for n, item in enumerate(fields.items("values")))
    return In(fields.need_str("dimension"), tuple(dict.fromkeys(values)))


def _bound(fields: Fields) -> Filter:
    fields.refuse_extraction()
    lower, upper = fields.text("lower"), fields.text("upper")
    if lower is None and upper is None:
        raise BadQueryError(f"{fields.path} must have lower or upper")
    return Bound(
        fields.need_str("dimension"),
        lower,
        upper,
        fields.boolean("lowerStrict"),
        fields.boolean("upperStrict"),
        _ordering(fields),
    )


def _ordering(fields: Fields) -> Ordering:
    name = fields.comparator("ordering")
    if name is None:
        fields.refuse("alphaNumeric")
        return Ordering.LEXICOGRAPHIC
    if fields.values.get("alphaNumeric") is not None and fields.boolean("alphaNumeric") is not (name == "alphanumeric"):
        raise BadQueryError(f"{fields.at('alphaNumeric')} and {fields.at('ordering')} contradict each other")
    try:
        return Ordering(name)
    except ValueError:
        raise UnsupportedQueryError(f"{fields.at('ordering')}: ordering {name!r} is not supported") from None


def _several(fields: Fields) -> tuple[Filter, ...]:
    parts = tuple(parse_filter(part) for part in fields.inners("fields"))
    if not parts:
        raise BadQueryError(f"{fields.at('fields')} must hold at least one filter")
    return parts


_PARSERS: dict[str, Callable[[Fields], Filter]] = {
    "selector": _selector,
    "null": _null,
    "in": _in,
    "bound": _bound,
    "and": lambda fields: And(_several(fields)),
    "or": lambda fields: Or(_several(fields)),
    "not": lambda fields: Not(parse_filter(fields.inner("field"))),
}
