"""Granularities: how time is cut into buckets (Druid's Granularity, PeriodGranularity, DurationGranularity).

Buckets of a period are counted from an origin: bucket k starts at origin + k periods, by the zone's calendar. Where
none is given the origin is local midnight of 1970-01-01, for weeks the Monday before it; and for hours and less in a
zone other than UTC the local midnight of the day itself, so that the change to summer time does not move the buckets
of half a year.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from druidroles.model.decode import ModelError, as_object, get_int, need_str, opt_str, whole_number
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.iso import MS_PER_DAY, format_iso, parse_iso
from druidroles.model.period import Period, from_local, to_local, zone

# Monday before the first of January 1970.
_FIRST_MONDAY_MS = -3 * MS_PER_DAY

SIMPLE_PERIODS = {
    "second": "PT1S",
    "minute": "PT1M",
    "five_minute": "PT5M",
    "ten_minute": "PT10M",
    "fifteen_minute": "PT15M",
    "thirty_minute": "PT30M",
    "hour": "PT1H",
    "six_hour": "PT6H",
    "eight_hour": "PT8H",
    "day": "P1D",
    "week": "P1W",
    "month": "P1M",
    "quarter": "P3M",
    "year": "P1Y",
}


class Granularity:
    """A way to cut time into buckets; `Granularity.parse` makes one."""

    @staticmethod
    def parse(value: Any) -> Granularity:
        """From JSON: a simple name (any case), or an object of type period, duration, all or none.

        Raises ModelError naming what is not supported.
        """
        if isinstance(value, str):
            return _simple(value)
        obj = as_object(value, "granularity")
        kind = need_str(obj, "type").lower()
        if kind in ("all", "none"):
            return _simple(kind)
        origin = _origin(obj.get("origin"))
        if kind == "duration":
            duration = _duration(obj)
            if duration <= 0:
                raise ModelError("duration is not a positive number of milliseconds")
            return DurationGranularity(duration, origin or 0)
        if kind == "period":
            return PeriodGranularity(Period.parse(need_str(obj, "period")), opt_str(obj, "timeZone") or "UTC", origin)
        raise ModelError(f"granularity type {kind!r} is not supported")

    @property
    def is_all(self) -> bool:
        """Whether there is one bucket, all of time."""
        return False

    def bucket(self, ms: int) -> Interval:
        """The bucket that holds the instant."""
        raise NotImplementedError

    def buckets(self, interval: Interval) -> Iterator[Interval]:
        """The buckets that overlap the interval, in order, untrimmed; of `all` the interval itself."""
        at = interval.start_ms
        while at < interval.end_ms:
            bucket = self.bucket(at)
            yield bucket
            at = bucket.end_ms

    def to_json(self) -> Any:
        """As JSON that `parse` reads."""
        raise NotImplementedError


@attrs.frozen
class AllGranularity(Granularity):
    """One bucket."""

    @property
    def is_all(self) -> bool:
        """True."""
        return True

    def bucket(self, ms: int) -> Interval:
        """All of time."""
        return ETERNITY

    def buckets(self, interval: Interval) -> Iterator[Interval]:
        """The interval itself, once."""
        if not interval.is_empty:
            yield interval

    def to_json(self) -> Any:
        """The simple name."""
        return "all"


@attrs.frozen
class DurationGranularity(Granularity):
    """Buckets of so many milliseconds each, counted from an origin. `none` is 1 ms."""

    duration_ms: int
    origin_ms: int = 0

    def bucket(self, ms: int) -> Interval:
        """The bucket that holds the instant."""
        start = ms - (ms - self.origin_ms) % self.duration_ms
        return Interval(start, start + self.duration_ms)

    def to_json(self) -> Any:
        """`none`, or an object of type duration."""
        if self.duration_ms == 1:
            return "none"
        return {"type": "duration", "duration": self.duration_ms, "origin": format_iso(self.origin_ms)}


@attrs.frozen
class PeriodGranularity(Granularity):
    """Buckets of a calendar period each, in a time zone."""

    period: Period
    time_zone: str = "UTC"
    origin_ms: int | None = None
    _tz: ZoneInfo | None = attrs.field(init=False, eq=False, repr=False)

    @_tz.default
    def _find_zone(self) -> ZoneInfo | None:
        return zone(self.time_zone)

    def bucket(self, ms: int) -> Interval:
        """The bucket that holds the instant."""
        tz, period = self._tz, self.period
        origin = self._origin_for(ms)
        index = (ms - origin) // period.about_ms
        start = period.add_to(origin, index, tz)
        while start > ms:
            index -= 1
            start = period.add_to(origin, index, tz)
        end = period.add_to(origin, index + 1, tz)
        while end <= ms:
            index += 1
            start, end = end, period.add_to(origin, index + 1, tz)
        if self._by_day:
            end = min(end, from_local((to_local(origin, tz) // MS_PER_DAY + 1) * MS_PER_DAY, tz))
        return Interval(start, end)

    @property
    def _by_day(self) -> bool:
        period = self.period
        return self._tz is not None and self.origin_ms is None and period.is_time_only and MS_PER_DAY % period.ms == 0

    def _origin_for(self, ms: int) -> int:
        if self.origin_ms is not None:
            return self.origin_ms
        if self._by_day:
            return from_local(to_local(ms, self._tz) // MS_PER_DAY * MS_PER_DAY, self._tz)
        return from_local(_FIRST_MONDAY_MS if self.period.is_weeks else 0, self._tz)

    def to_json(self) -> Any:
        """The simple name in upper case where it has one, otherwise an object of type period."""
        if self.time_zone == "UTC" and self.origin_ms is None:
            for name, text in SIMPLE_PERIODS.items():
                if Period.parse(text) == self.period:
                    return name.upper()
        origin = None if self.origin_ms is None else format_iso(self.origin_ms)
        return {"type": "period", "period": str(self.period), "timeZone": self.time_zone, "origin": origin}


ALL = AllGranularity()
NONE = DurationGranularity(1)


def _simple(name: str) -> Granularity:
    lowered = name.lower()
    if lowered == "all":
        return ALL
    if lowered == "none":
        return NONE
    period = SIMPLE_PERIODS.get(lowered)
    if period is None:
        raise ModelError(f"granularity {name!r} is not supported")
    return PeriodGranularity(Period.parse(period))


def _duration(obj: Mapping[str, Any]) -> int:
    """Druid's parser of JSON takes a number as text, too."""
    value = obj.get("duration")
    spelled = whole_number(value) if isinstance(value, str) else None
    return get_int(obj, "duration", 0) if spelled is None else spelled


def _origin(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        return parse_iso(value)
    raise ModelError("origin is not a time")
