"""Instants, periods, intervals and granularities against Joda-Time's conventions and Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from druidroles.model.decode import ModelError
from druidroles.model.granularity import ALL, Granularity
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.model.period import Period

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS_1_TO_9999 = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@settings(deadline=None)
@given(YEARS_1_TO_9999)
def test_an_instant_prints_as_datetime_would_and_reads_back(ms: int) -> None:
    text = (EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    assert format_iso(ms) == text
    assert parse_iso(text) == ms


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2013", "2013-01-01T00:00:00.000Z"),
        ("2013-02", "2013-02-01T00:00:00.000Z"),
        ("2013-02-03", "2013-02-03T00:00:00.000Z"),
        ("2013-02-03T04", "2013-02-03T04:00:00.000Z"),
        ("2013-02-03T04:05", "2013-02-03T04:05:00.000Z"),
        ("2013-02-03T04:05:06.7", "2013-02-03T04:05:06.700Z"),
        ("2013-02-03T04:05:06.123456Z", "2013-02-03T04:05:06.123Z"),
        ("2013-02-03T04:05:06+01:30", "2013-02-03T02:35:06.000Z"),
        ("2013-02-03T04-0500", "2013-02-03T09:00:00.000Z"),
    ],
)
def test_shortened_forms_are_read_as_utc(text: str, same_as: str) -> None:
    assert format_iso(parse_iso(text)) == same_as


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2013-13-01", "2013-02-29", "2013-01-01T24:00", "2013-1-1 00:00", "13"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        parse_iso(text)


def test_eternity_prints_as_druid_prints_it() -> None:
    assert str(ETERNITY) == "-146136543-09-08T08:23:32.096Z/146140482-04-24T15:36:27.903Z"
    assert Interval.parse(str(ETERNITY)) == ETERNITY


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2013-01-01/P1M", "2013-01-01/2013-02-01"),
        ("P1D/2013-01-01", "2012-12-31/2013-01-01"),
        ("2013-01-01/PT36H", "2013-01-01/2013-01-02T12"),
    ],
)
def test_an_interval_may_be_given_by_a_period(text: str, same_as: str) -> None:
    assert Interval.parse(text) == Interval.parse(same_as)


@pytest.mark.parametrize("text", ["2013", "2013/2012", "P1D/P1D", "2013/", "/2013", "a/b"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        Interval.parse(text)


def test_relations_of_intervals() -> None:
    day1, day2 = Interval.parse("2013-01-01/P1D"), Interval.parse("2013-01-02/P1D")
    both = Interval.parse("2013-01-01/P2D")
    assert day1.abuts(day2)
    assert not day1.overlaps(day2)
    assert both.contains(day2)
    assert both.intersection(day2) == day2
    assert both.subtract(day1) == [day2]
    assert Interval.parse("2013-01-01/P3D").subtract(day2) == [day1, Interval.parse("2013-01-03/P1D")]
    assert not both.overlaps(Interval(both.start_ms, both.start_ms))


def test_a_month_after_the_31st_is_the_last_day() -> None:
    assert Period.parse("P1M").add_to(parse_iso("2013-01-31")) == parse_iso("2013-02-28")
    assert Period.parse("P1M").add_to(parse_iso("2013-03-31"), -1) == parse_iso("2013-02-28")
    assert Period.parse("P1Y2M3W4DT5H6M7.008S").add_to(0) == parse_iso("1971-03-26T05:06:07.008")


@pytest.mark.parametrize("text", ["", "P", "PT", "P0D", "1D", "P1H", "PT1.5H"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        Period.parse(text)


GRANULARITIES = st.sampled_from(
    [
        *("second", "fifteen_minute", "HOUR", "six_hour", "Day", "week", "month", "quarter", "year", "none"),
        {"type": "duration", "duration": 7_000_001, "origin": "2012-01-01"},
        {"type": "period", "period": "P2W", "origin": "2013-01-02T03:00:00Z"},
        {"type": "period", "period": "P1M2D"},
        {"type": "period", "period": "P1D", "timeZone": "America/New_York"},
        {"type": "period", "period": "PT1H", "timeZone": "Asia/Kolkata"},
        {"type": "period", "period": "PT6H", "timeZone": "America/New_York"},
        {"type": "period", "period": "P1M", "timeZone": "Europe/Berlin"},
    ]
)


@settings(deadline=None)
@given(GRANULARITIES, st.integers(-(10**12), 2 * 10**12))
def test_buckets_hold_their_instants_and_abut(spec: object, ms: int) -> None:
    granularity = Granularity.parse(spec)
    bucket = granularity.bucket(ms)
    assert bucket.contains_ms(ms)
    assert granularity.bucket(bucket.start_ms) == bucket
    assert granularity.bucket(bucket.end_ms - 1) == bucket
    assert granularity.bucket(bucket.end_ms).start_ms == bucket.end_ms
    assert Granularity.parse(granularity.to_json()) == granularity


@settings(deadline=None)
@given(st.integers(0, 2 * 10**12))
def test_days_of_a_zone_begin_at_its_midnight(ms: int) -> None:
    tz = ZoneInfo("America/New_York")
    start = Granularity.parse({"type": "period", "period": "P1D", "timeZone": "America/New_York"}).bucket(ms).start_ms
    local = (EPOCH + timedelta(milliseconds=start)).astimezone(tz)
    assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)


def test_buckets_of_an_interval() -> None:
    week = Interval.parse("2013-03-09/2013-03-12")
    assert [str(b) for b in Granularity.parse("week").buckets(week)] == [
        "2013-03-04T00:00:00.000Z/2013-03-11T00:00:00.000Z",
        "2013-03-11T00:00:00.000Z/2013-03-18T00:00:00.000Z",
    ]
    assert list(ALL.buckets(week)) == [week]
    assert len(list(Granularity.parse("day").buckets(week))) == 3


@pytest.mark.parametrize("spec", ["fortnight", 3, None, {"type": "period"}, {"type": "duration"}, {"type": "lunar"}])
def test_what_is_no_granularity_is_refused(spec: object) -> None:
    with pytest.raises(ModelError):
        Granularity.parse(spec)
