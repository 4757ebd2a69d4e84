"""Text as numbers, in DuckDB's SQL, by Druid's rules: what Druid could not read as a number is null here too.

DuckDB's own cast is more liberal: it rounds 1.5 to 2, trims blanks and takes underscores. Druid takes a decimal as a
long only if it is whole (DimensionHandlerUtils.getExactLongFromDecimalString).
"""

from __future__ import annotations

_LONG = "'[+-]?[0-9]{1,19}'"
_DOUBLE = r"'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?|NaN|[+-]?Infinity'"
_EXACT = 2**53  # whole numbers up to here are exact as doubles


def text_as_double(text: str) -> str:
    """SQL: the text expression as DOUBLE, null where it is no number."""
    return f"CASE WHEN regexp_full_match({text}, {_DOUBLE}) THEN TRY_CAST({text} AS DOUBLE) END"


def text_as_long(text: str) -> str:
    """SQL: the text expression as BIGINT, null where it is no whole number of 64 bits."""
    double = text_as_double(text)
    return (
        f"CASE WHEN regexp_full_match({text}, {_LONG}) THEN TRY_CAST({text} AS BIGINT) "
        f"WHEN abs({double}) < {_EXACT} AND trunc({double}) = ({double}) THEN TRY_CAST(({double}) AS BIGINT) END"
    )
