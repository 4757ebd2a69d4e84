"""ISO-8601 periods (`P1M`, `PT6H`) as Joda-Time's Period has them: fields that are not converted into each other.

A month is not a number of milliseconds and, in a time zone with daylight saving, neither is a day. So a period is added
to an instant in a zone: the date fields move the local calendar, then the time fields move the instant itself.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs

from druidroles.model.decode import ModelError
from druidroles.model.iso import MS_PER_DAY, civil_from_days, days_from_civil, days_in_month

_PERIOD = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,3}))?S)?)?"
)
_AVERAGE_MONTH_MS = 2_629_746_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone(name: str) -> ZoneInfo | None:
    """The time zone of that name, None for UTC (which needs no table). Raises ModelError for an unknown one."""
    if name in ("UTC", "Etc/UTC", "GMT", "Z", "Etc/GMT"):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ModelError(f"{name!r} is not a known time zone") from error


def to_local(ms: int, tz: ZoneInfo | None) -> int:
    """The wall clock of the zone at that instant, as if it were milliseconds UTC."""
    if tz is None:
        return ms
    try:
        offset = (_EPOCH + timedelta(milliseconds=ms)).astimezone(tz).utcoffset()
    except OverflowError:
        return ms
    return ms + (0 if offset is None else round(offset.total_seconds() * 1000))


def from_local(local_ms: int, tz: ZoneInfo | None) -> int:
    """The instant at which the zone's wall clock shows `local_ms`: the earlier of two, and the first after a gap."""
    if tz is None:
        return local_ms
    try:
        naive = (_EPOCH + timedelta(milliseconds=local_ms)).replace(tzinfo=tz)
    except OverflowError:
        return local_ms
    offset = naive.utcoffset()
    instant = local_ms - (0 if offset is None else round(offset.total_seconds() * 1000))
    if to_local(instant, tz) == local_ms:
        return instant
    # In a gap the clock shows neither; fold=0 gives the offset before it, which lands after the gap by its width.
    after = naive.replace(fold=1).utcoffset()
    before_gap = local_ms - (0 if after is None else round(after.total_seconds() * 1000))
    return instant - (to_local(instant, tz) - local_ms) if before_gap < instant else instant


@attrs.frozen
class Period:
    """A length of time in calendar fields: whole months, whole days, and milliseconds."""

    months: int = 0
    days: int = 0
    ms: int = 0
    text: str = attrs.field(default="", eq=False)

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read `P1Y2M3W4DT5H6M7.008S`; raises ModelError for anything else and for a period of nothing."""
        match = _PERIOD.fullmatch(text)
        if match is None:
            raise ModelError(f"{text!r} is not an ISO-8601 period")
        field = {name: int(value or 0) for name, value in match.groupdict().items() if name != "fraction"}
        ms = ((field["hours"] * 60 + field["minutes"]) * 60 + field["seconds"]) * 1000
        ms += int((match["fraction"] or "").ljust(3, "0"))
        period = cls(field["years"] * 12 + field["months"], field["weeks"] * 7 + field["days"], ms, text)
        if period.months == period.days == period.ms == 0:
            raise ModelError(f"{text!r} is a period of nothing")
        return period

    def __str__(self) -> str:
        return self.text or f"P{self.months}M{self.days}DT{self.ms / 1000:g}S"

    @property
    def is_time_only(self) -> bool:
        """Whether it has no date field, so that it is the same number of milliseconds everywhere."""
        return self.months == 0 and self.days == 0

    @property
    def is_weeks(self) -> bool:
        """Whether it was written as weeks alone; such buckets begin on Mondays."""
        return self.months == 0 and self.ms == 0 and self.text.endswith("W")

    @property
    def about_ms(self) -> int:
        """Its length with months of average length: for estimates only."""
        return self.months * _AVERAGE_MONTH_MS + self.days * MS_PER_DAY + self.ms

    def add_to(self, ms: int, times: int = 1, tz: ZoneInfo | None = None) -> int:
        """The instant `times` periods after `ms` (before it, if negative), by the calendar of `tz` (None: UTC).

        As in Joda-Time a day that the month reached does not have becomes its last.
        """
        if self.is_time_only:
            return ms + self.ms * times
        days, of_day = divmod(to_local(ms, tz), MS_PER_DAY)
        if self.months:
            year, month, day = civil_from_days(days)
            year, month0 = divmod(year * 12 + month - 1 + self.months * times, 12)
            days = days_from_civil(year, month0 + 1, min(day, days_in_month(year, month0 + 1)))
        days += self.days * times
        return from_local(days * MS_PER_DAY + of_day, tz) + self.ms * times
