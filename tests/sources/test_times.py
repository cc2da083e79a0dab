"""Times of any kind to UTC, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import polars as pl
import pytest

from leadline.sources.times import end_of_day, latest, to_utc
from leadline.tables import UTC_TIME

NOON = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


def verdict(value: object, zone: str = "", dtype: object = None) -> tuple[object, ...]:
    told = to_utc(pl.Series([value], dtype=dtype), zone)  # type: ignore[arg-type]
    assert told.schema["time"] == UTC_TIME
    return told.select("time", "naive", "bad", "date_only").row(0)


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T12:30:00Z",
        "2024-05-01T12:30Z",
        "2024-05-01 12:30:00 UTC",
        "2024-05-01T14:30:00+02:00",
        "2024-05-01T14:30:00+0200",
        "2024-05-01T14:30:00+02",
        "2024-05-01T08:00:00-04:30",
        " 2024-05-01T12:30:00.000Z ",
        "2024-05-01T12:30:00,0Z",
        "1714566600",
        "1714566600.0",
        "1714566600000",
        "1714566600000000",
        "1714566600000000000",
    ],
)
def test_texts_that_name_a_moment(text: str) -> None:
    assert verdict(text) == (NOON, False, False, False)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "03/04/2024", "2024-05-01T25:00:00Z", "2024-02-30", "-1714566600", "1e9",
     "99999999999999999999", "2024-05-01T12:30:00 CET"],
)  # fmt: skip
def test_texts_that_name_none(text: str) -> None:
    moment, _, bad, _ = verdict(text, "UTC")
    assert moment is None
    assert bad


@pytest.mark.parametrize("value", [1714566600, 1714566600.0, 1714566600000, 1714566600000000])
def test_epochs_by_their_size(value: float) -> None:
    assert verdict(value) == (NOON, False, False, False)


@pytest.mark.parametrize("value", [-3, float("nan"), float("inf"), 1e30])
def test_numbers_that_are_no_dates(value: float) -> None:
    assert verdict(value)[0] is None
    assert verdict(value)[2]


def test_fractions_of_a_second_are_kept() -> None:
    assert verdict("2024-05-01T12:30:00.25Z")[0] == NOON + timedelta(milliseconds=250)
    assert verdict(1714566600.5)[0] == NOON + timedelta(milliseconds=500)


def test_typed_columns() -> None:
    east = timezone(timedelta(hours=2))
    assert verdict(NOON.astimezone(east), dtype=pl.Datetime("ms", "Europe/Berlin"))[0] == NOON
    assert verdict(datetime(2024, 5, 1, 12, 30), dtype=pl.Datetime("ns"))[1:] == (
        True, False, False
    )  # fmt: skip
    assert verdict(datetime(2024, 5, 1, 14, 30), "Europe/Berlin")[0] == NOON
    assert verdict(date(2024, 5, 1), "UTC") == (NOON.replace(hour=0, minute=0), False, False, True)


@pytest.mark.parametrize("value", [True, [1]])
def test_columns_of_other_types_are_bad(value: object) -> None:
    assert verdict(value) == (None, False, True, False)


@pytest.mark.parametrize(
    "dtype", [pl.Null, pl.String, pl.Float64, pl.Boolean, pl.Date, pl.Datetime("us", "UTC")]
)
def test_missing_is_missing_and_not_bad(dtype: object) -> None:
    assert verdict(None, dtype=dtype) == (None, False, False, False)
    assert to_utc(pl.Series([], dtype=dtype), "").height == 0  # type: ignore[arg-type]


def test_naive_times_take_the_zone_or_are_marked() -> None:
    assert verdict("2024-05-01 14:30", "Europe/Berlin") == (NOON, False, False, False)
    assert verdict("2024-05-01 14:30")[1] is True
    assert verdict("2024-05-01", "America/New_York") == (
        datetime(2024, 5, 1, 4, tzinfo=UTC), False, False, True
    )  # fmt: skip


def test_clock_changes() -> None:
    twice = verdict("2024-10-27T02:30:00", "Europe/Berlin")
    assert twice[0] == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert verdict("2024-03-31T02:30:00", "Europe/Berlin")[2] is True
    assert verdict(datetime(2024, 3, 31, 2, 30), "Europe/Berlin")[2] is True


def test_the_latest_time_leaves_room_for_clocks() -> None:
    now = datetime.now(UTC)
    assert now + timedelta(hours=23) < latest() < now + timedelta(hours=25)


@pytest.mark.parametrize(
    ("zone", "date", "end"),
    [
        ("", "2024-05-01", datetime(2024, 5, 1, 23, 59, 59, 999999, tzinfo=UTC)),
        ("America/New_York", "2024-05-01", datetime(2024, 5, 2, 3, 59, 59, 999999, tzinfo=UTC)),
        ("Europe/Berlin", "2024-10-27", datetime(2024, 10, 27, 22, 59, 59, 999999, tzinfo=UTC)),
        ("Europe/Berlin", "2024-03-31", datetime(2024, 3, 31, 21, 59, 59, 999999, tzinfo=UTC)),
        # Here clocks went from midnight to one: the day after has no start of its own.
        ("America/Sao_Paulo", "2018-11-03", datetime(2018, 11, 4, 2, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_a_day_ends_a_microsecond_before_the_next(zone: str, date: str, end: datetime) -> None:
    starts = to_utc(pl.Series([date, None]), zone)["time"]
    assert end_of_day(starts, zone).to_list() == [end, None]


@pytest.mark.parametrize(
    ("texts", "zone", "moment"),
    [
        (["202405011230"], "UTC", NOON),
        (["20240501123000"], "UTC", NOON),
        (["20240501T123000Z"], "", NOON),
        (["2024/05/01 02:30:00 PM GMT+2"], "", NOON),
        (["01.05.2024 14:30"], "Europe/Berlin", NOON),
        (["05/01/2024 12:30:00 PM", "05/21/2024 12:30:00 PM"], "UTC", NOON),
        (["1 May 2024 12:30"], "UTC", NOON),
        (["May 1, 2024 12:30 PM"], "UTC", NOON),
        (["Wed, 01 May 2024 12:30:00 +0000"], "", NOON),
        (["Wed May 01 12:30:00 +0000 2024"], "", NOON),
    ],
)
def test_times_as_programs_show_them(texts: list[str], zone: str, moment: datetime) -> None:
    told = to_utc(pl.Series(texts), zone)
    assert told["time"][0] == moment
    assert not told["bad"].any()
    if zone:
        assert to_utc(pl.Series(texts), "")["naive"].all()


def test_digits_that_spell_a_calendar_time_are_no_epoch() -> None:
    assert verdict(202405011230, "UTC") == (NOON, False, False, False)
    assert verdict(20240501, "UTC") == (NOON.replace(hour=0, minute=0), False, False, True)
    assert verdict(202405011230)[1]  # it names no zone
    assert verdict(1714566600) == (NOON, False, False, False)
    assert verdict("202413011230")[2]  # no month is the 13th, and 1976 is no time of a chat
    assert verdict(736_000_000)[2]  # seconds since 2001, as some phones count


@pytest.mark.parametrize("order", ["dmy", "mdy"])
def test_days_and_months_are_told_apart_by_proof_or_by_word(order: str) -> None:
    third = {"dmy": (4, 3), "mdy": (3, 4)}[order]
    told = to_utc(pl.Series(["03/04/2024 10:00"]), "UTC", order)
    assert (told["time"][0].month, told["time"][0].day) == third
    proof = {"dmy": "25/04/2024 10:00", "mdy": "04/25/2024 10:00"}[order]
    both = to_utc(pl.Series(["03/04/2024 10:00", proof]), "UTC")
    assert both["time"][0] == told["time"][0]
    assert to_utc(pl.Series(["03/04/2024 10:00"]), "UTC")["ambiguous"].all()


@pytest.mark.parametrize(
    ("values", "micros"),
    [
        (["00:00:13", "00:01:02.5"], [13_000_000, 62_500_000]),
        (["0:13", None], [13_000_000, None]),
        ([0.0, 12.5], [0, 12_500_000]),
        (["12.5", "14"], [12_500_000, 14_000_000]),
        ([time(0, 0, 13)], [13_000_000]),
        ([timedelta(seconds=13)], [13_000_000]),
    ],
)
def test_offsets_are_no_dates(values: list[object], micros: list[int | None]) -> None:
    told = to_utc(pl.Series(values), "")
    assert told["offset"].to_list() == micros
    assert not told["bad"].any()
    assert told["time"].null_count() == len(values)


def test_an_offset_among_dates_is_bad() -> None:
    told = to_utc(pl.Series(["2024-05-01T12:30:00Z", "00:00:13"]), "")
    assert told["bad"].to_list() == [False, True]
    assert told["offset"].null_count() == 2


def test_days_of_a_spreadsheet_in_text_are_neither() -> None:
    days = to_utc(pl.Series(["45413.4166666667", "45414"]), "UTC")
    assert days["bad"].all()
    assert to_utc(pl.Series(["0.5", "45414"]), "UTC")["offset"].null_count() == 0


def test_days_of_a_spreadsheet_are_neither_offsets_nor_dates() -> None:
    assert to_utc(pl.Series([45413.4167, 45414.5]), "UTC")["bad"].all()
    assert to_utc(pl.Series([12.0, 45413.4167]), "UTC")["offset"].null_count() == 0
