"""A filter as a condition in SQL.

SQL's three-valued logic is Druid's, so `and`, `or` and `not` need nothing special. What does is comparing across types:
Druid's values are strings, and a numeric column compares with the number that the string spells. One that spells none
equals no row.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from druidroles.model.decode import LONG_CHARACTERS
from druidroles.query.filters import And, Bound, Filter, In, IsNull, Not, Or, Ordering, Selector
from druidroles.query.sqltext import Column, Parameters

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_LONG_MAX = 2**63

Columns = Callable[[str], Column]


def filter_sql(node: Filter, columns: Columns, parameters: Parameters) -> str:
    """The condition, in parentheses where it needs them."""
    match node:
        case And(fields) | Or(fields):
            word = " AND " if isinstance(node, And) else " OR "
            return "(" + word.join(filter_sql(field, columns, parameters) for field in fields) + ")"
        case Not(field):
            return f"(NOT {filter_sql(field, columns, parameters)})"
        case IsNull(name):
            return f"({columns(name).sql} IS NULL)"
        case Selector(name, value):
            return _one_of(columns(name), (value,), parameters)
        case In(name, values):
            return _one_of(columns(name), values, parameters)
        case Bound():
            return _bound(node, columns(node.column), parameters)


def _one_of(column: Column, values: tuple[str | None, ...], parameters: Parameters) -> str:
    wanted = [_parameter(column, value, parameters) for value in values if value is not None]
    found = [sql for sql in wanted if sql is not None]
    # A list that is empty for the column's type still is unknown for null, like any comparison with it.
    condition = f"{column.sql} IN ({', '.join(found)})" if found else f"({column.sql} IS NULL AND NULL)"
    return f"({condition} OR {column.sql} IS NULL)" if None in values else f"({condition})"


def _parameter(column: Column, value: str, parameters: Parameters) -> str | None:
    if column.is_text:
        return parameters.add(value, "VARCHAR")
    number = number_of(value)
    if number is None or (column.type == "BIGINT" and not _is_long(number)):
        return None
    return parameters.add(int(number) if column.type == "BIGINT" else float(number), column.type)


def number_of(text: str) -> int | float | None:
    """The number that a string spells; whole ones keep all their digits, as far as a column can have them."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if len(text) <= LONG_CHARACTERS and text.lstrip("+-").isdigit() else float(text)


def _is_long(number: float) -> bool:
    return number == int(number) and -_LONG_MAX <= number < _LONG_MAX if abs(number) < 1e300 else False


def _bound(node: Bound, column: Column, parameters: Parameters) -> str:
    ends = []
    for text, symbol, strict in ((node.lower, ">", node.lower_strict), (node.upper, "<", node.upper_strict)):
        if text is not None:
            compare = _numeric_end if node.ordering is Ordering.NUMERIC else _text_end
            ends.append(compare(column, symbol if strict else f"{symbol}=", text, parameters))
    return f"({' AND '.join(ends)})"


def _text_end(column: Column, operator: str, text: str, parameters: Parameters) -> str:
    return f"{column.as_text} {operator} {parameters.add(text, 'VARCHAR')}"


def _numeric_end(column: Column, operator: str, text: str, parameters: Parameters) -> str:
    """Druid's NumericComparator: strings that are no numbers come before all numbers, and in their own order."""
    number = number_of(text)
    up = operator.startswith(">")
    if number is None:
        numbers, others = ("TRUE" if up else "FALSE"), _text_end(column, operator, text, parameters)
    else:
        kind = "BIGINT" if isinstance(number, int) and _is_long(number) else "DOUBLE"
        end = parameters.add(number if kind == "BIGINT" else float(number), kind)
        numbers, others = f"{column.as_number} {operator} {end}", ("FALSE" if up else "TRUE")
    is_number = f"{column.as_number} IS NOT NULL" if column.is_text else "TRUE"
    return f"CASE WHEN {column.sql} IS NULL THEN NULL WHEN {is_number} THEN {numbers} ELSE {others} END"
