"""ISO-8601 instants as Joda-Time reads and prints them, in milliseconds since 1970 UTC.

Druid's times reach far outside the years 1 to 9999 that `datetime` knows: its ETERNITY runs from the year -146136543 to
146140482. So days are counted here by the proleptic Gregorian calendar directly: with March as the first month of a
computational year, the leap day is the last day of that year, and a 400-year era always has 146,097 days.
"""

from __future__ import annotations

import re
from functools import lru_cache

from druidroles.model.decode import ModelError

MS_PER_DAY = 86_400_000
_DAYS_PER_ERA = 146_097
# Days from 0000-03-01 to 1970-01-01.
_EPOCH_SHIFT = 719_468

_INSTANT = re.compile(
    r"""(?P<year>[+-]?\d{4,9})
        (?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?
        (?:T(?:(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?
           (?P<offset>Z|[+-]\d{2}(?::?\d{2})?)?
        )?""",
    re.VERBOSE,
)


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to the given date of the proleptic Gregorian calendar."""
    if month <= 2:
        year -= 1
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_PER_ERA + day_of_era - _EPOCH_SHIFT


def civil_from_days(days: int) -> tuple[int, int, int]:
    """The inverse of `days_from_civil`: (year, month, day)."""
    era, day_of_era = divmod(days + _EPOCH_SHIFT, _DAYS_PER_ERA)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month <= 2), month, day


def days_in_month(year: int, month: int) -> int:
    """How many days the month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _offset_ms(text: str | None) -> int:
    if text is None or text == "Z":
        return 0
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or "0")
    if hours > 23 or minutes > 59:
        raise ModelError(f"{text} is not an offset from UTC")
    ms = (hours * 60 + minutes) * 60_000
    return -ms if text[0] == "-" else ms


@lru_cache(maxsize=16_384)
def parse_iso(text: str) -> int:
    """Milliseconds since 1970 of an ISO-8601 date or date-time; UTC where no offset is given, as Druid reads it.

    Everything after the year may be left out. Digits of the second's fraction after the third are cut. Raises
    ModelError (a ValueError) for anything else, and for dates and times that do not exist.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ModelError(f"{text!r} is not an ISO-8601 time")
    year, month, day = int(match["year"]), int(match["month"] or 1), int(match["day"] or 1)
    hour, minute, second = int(match["hour"] or 0), int(match["minute"] or 0), int(match["second"] or 0)
    millis = int((match["fraction"] or "").ljust(3, "0")[:3])
    if not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        raise ModelError(f"{text!r} names a day that does not exist")
    if hour > 23 or minute > 59 or second > 59:
        raise ModelError(f"{text!r} names a time of day that does not exist")
    of_day = ((hour * 60 + minute) * 60 + second) * 1000 + millis
    return days_from_civil(year, month, day) * MS_PER_DAY + of_day - _offset_ms(match["offset"])


@lru_cache(maxsize=16_384)
def format_iso(ms: int) -> str:
    """The instant as Druid prints it: `2013-01-01T00:00:00.000Z`."""
    days, of_day = divmod(ms, MS_PER_DAY)
    year, month, day = civil_from_days(days)
    seconds, millis = divmod(of_day, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    sign = "-" if year < 0 else ""
    return f"{sign}{abs(year):04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{millis:03d}Z"
