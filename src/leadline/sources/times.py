"""Times as users have them, to UTC: ISO 8601 text, epochs, dates, typed columns.

A time that names no zone is taken in --timezone and refused without one. In the hour that
occurs twice when clocks go back, the first is taken. Dates such as 03/04/2024 are refused:
they mean different days in different countries.

A date without a time is some moment of its day. Which end of the day it stands for is a choice of
what is dated: `end_of_day` gives the last moment that it can be.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.tables import UTC_TIME

ISO = (
    r"^\s*(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*"
    r"(?P<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?)?\s*$"
)

EPOCH = r"^\s*\d{9,19}(?:\.\d+)?\s*$"

FIRST_EPOCH = 1e8  # seconds; smaller numbers are offsets, not dates

EPOCH_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (1e20, 0.001))

NAIVE = "The time names no zone."

UNREADABLE = "The time is neither ISO 8601 nor an epoch."

FUTURE = "The time lies in the future."

TIME_REMEDY = "Write times as 2024-05-01T12:30:00Z."


def to_utc(values: pl.Series, timezone: str) -> pl.DataFrame:
    """UTC times of a column of any type.

    Returns:
        One row a value: ``time`` (UTC, microseconds), ``naive`` (it needs a zone and there
        is none), ``bad`` (a value that is no time), ``date_only`` (a date without a time).
    """
    kind = values.dtype
    if kind == pl.String:
        return _from_text(values, timezone)
    if kind.is_numeric():
        return _from_epoch(values)
    frame = pl.DataFrame({"v": values})
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        return _result(frame.select(time=pl.col("v").dt.convert_time_zone("UTC").cast(UTC_TIME)))
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        moment = pl.col("v").cast(pl.Datetime("us"))
        times = frame.select(
            time=_in_zone(moment, timezone or "UTC"),
            naive=pl.lit(not timezone) & moment.is_not_null(),
            bad=pl.col("v").is_not_null() & _in_zone(moment, timezone or "UTC").is_null(),
            date_only=pl.lit(kind == pl.Date) & moment.is_not_null(),
        )
        return _result(times)
    unknown = pl.Series("time", [None] * len(values), dtype=UTC_TIME)
    return _result(pl.DataFrame([unknown, values.is_not_null().alias("bad")]))


def _result(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in ("naive", "bad", "date_only") if name not in frame.columns]
    return frame.with_columns(pl.lit(False).alias(name) for name in missing)


def _in_zone(moment: pl.Expr, timezone: str) -> pl.Expr:
    local = moment.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").cast(UTC_TIME)


def end_of_day(times: pl.Series, timezone: str) -> pl.Series:
    """The last microsecond of the day that each time begins; null stays null.

    Args:
        times: UTC, each the start of a day in the zone.
        timezone: in which days are counted, so that a day may have 23 or 25 hours; "" is UTC.
    """
    local = pl.col("start").dt.convert_time_zone(timezone or "UTC").dt.replace_time_zone(None)
    following = _in_zone(local + pl.duration(days=1), timezone or "UTC")
    # Some zones change their clocks at midnight, so that a day may have no start of its own.
    following = following.fill_null(pl.col("start") + pl.duration(days=1))
    frame = times.to_frame("start")
    return frame.select(end=following - pl.duration(microseconds=1))["end"]


def _from_text(values: pl.Series, timezone: str) -> pl.DataFrame:
    """ISO 8601 or an epoch in digits; the zone's offset is subtracted by arithmetic."""
    parts = pl.DataFrame({"v": values}).with_columns(pl.col("v").str.extract_groups(ISO).alias("p"))
    parts = parts.unnest("p").with_columns(
        clock=pl.col("time").str.replace(",", ".").fill_null("00:00"),
        date_only=pl.col("date").is_not_null() & pl.col("time").is_null(),
        epoch=pl.when(pl.col("v").str.contains(EPOCH))
        .then(pl.col("v").str.strip_chars())
        .cast(pl.Float64, strict=False),
    )
    stamp = pl.col("date") + "T" + pl.col("clock")
    stamp = pl.when(pl.col("clock").str.len_chars() == 5).then(stamp + ":00").otherwise(stamp)
    local = stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    digits = pl.col("zone").str.extract(r"(\d+:?\d*)").str.replace(":", "").str.pad_end(4, "0")
    minutes = digits.str.head(2).cast(pl.Int64) * 60 + digits.str.tail(2).cast(pl.Int64)
    sign = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    offset = pl.duration(minutes=(sign * minutes).fill_null(0))
    zoned = (local - offset).dt.replace_time_zone("UTC")
    frame = parts.with_columns(local=local, zoned=zoned).with_columns(
        time=pl.when(pl.col("zone").is_not_null())
        .then(pl.col("zoned"))
        .otherwise(_in_zone(pl.col("local"), timezone or "UTC"))
    )
    epochs = _from_epoch(frame["epoch"])["time"]
    frame = frame.with_columns(pl.col("time").fill_null(epochs))
    return frame.select(
        "time",
        naive=pl.lit(not timezone) & pl.col("local").is_not_null() & pl.col("zone").is_null(),
        bad=pl.col("v").is_not_null() & pl.col("time").is_null(),
        date_only=pl.col("date_only"),
    )


def _from_epoch(values: pl.Series) -> pl.DataFrame:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, by their size."""
    number = pl.col("v").cast(pl.Float64)
    scaled = pl.lit(None, dtype=pl.Float64)
    for limit, factor in reversed(EPOCH_UNITS):
        scaled = pl.when(number < limit).then(number * factor).otherwise(scaled)
    scaled = pl.when(number >= FIRST_EPOCH).then(scaled)
    frame = pl.DataFrame({"v": values}).with_columns(us=scaled.round().cast(pl.Int64))
    time = pl.col("us").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = frame.with_columns(time=time)
    return _result(frame.select("time", bad=pl.col("v").is_not_null() & pl.col("time").is_null()))


def latest() -> datetime:
    """The latest time that is not in the future; a day is left for clocks that disagree."""
    return datetime.now(UTC) + timedelta(days=1)


def naive_error(file: Path, row: int | str | None) -> LeadlineError:
    """The error for a time without a zone. It concerns all rows, so no row can be skipped."""
    return LeadlineError(
        NAIVE,
        remedy="Say which zone the times are in, for example --timezone UTC or "
        "--timezone America/New_York.",
        file=file,
        row=row,
    )
