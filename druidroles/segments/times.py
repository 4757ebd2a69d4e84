"""Times of rows, from text (Druid documentation, "timestampSpec").

DuckDB reads the form that nearly all input has. What it leaves is read in Python by the rules of model.iso, each text
once: a cast of DuckDB's own would take more than Druid does, and pass over offsets.
"""

from __future__ import annotations

from collections.abc import Iterable

from druidroles.model.decode import ModelError
from druidroles.model.iso import parse_iso

FORMATS = ("auto", "iso", "millis", "posix")
_ISO = r"'\d{4}-\d\d-\d\d{SEPARATOR}([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?Z?'"


def time_sql(text: str, form: str) -> str:
    """SQL: the text expression as milliseconds since 1970, null where `parse_times` is to try, or it is no time."""
    whole = f"CASE WHEN regexp_full_match({text}, '-?[0-9]{{1,18}}') THEN CAST({text} AS BIGINT)"
    iso = _ISO.replace("{SEPARATOR}", "T" if form == "iso" else "[T ]")
    instant = f"epoch_ms(TRY_CAST(rtrim({text}, 'Z') AS TIMESTAMP))"
    match form:
        case "millis":
            return f"{whole} END"
        case "posix":
            return f"CASE WHEN regexp_full_match({text}, '-?[0-9]{{1,15}}') THEN CAST({text} AS BIGINT) * 1000 END"
        case "iso":
            return f"CASE WHEN regexp_full_match({text}, {iso}) THEN {instant} END"
    return f"{whole} WHEN regexp_full_match({text}, {iso}) THEN {instant} END"


def parse_times(texts: Iterable[str], form: str) -> dict[str, int]:
    """What these are as milliseconds since 1970; texts that are no times are left out."""
    if form not in ("iso", "auto"):
        return {}
    found = {}
    for text in texts:
        plain = text.strip('"').strip() if form == "auto" else text
        if form == "auto" and plain[10:11] == " ":
            plain = f"{plain[:10]}T{plain[11:]}"
        try:
            found[text] = parse_iso(plain)
        except ModelError:
            continue
    return found
