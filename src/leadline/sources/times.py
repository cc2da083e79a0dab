"""Times as users have them, to UTC: ISO 8601 text, epochs, dates, typed columns.

A time that names no zone is taken in --timezone and refused without one. In the hour that
occurs twice when clocks go back, the first is taken. Digits that spell a calendar time
(202405011000) are that time and no epoch. A column of nothing but clocks (00:00:13) or small
numbers holds offsets into a recording: they order, and date nothing.

A date without a time is some moment of its day. Which end of the day it stands for is a choice of
what is dated: `end_of_day` gives the last moment that it can be.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.sources.names import normal
from leadline.sources.spoken_times import day_order, is_ambiguous, spoken_time
from leadline.tables import UTC_TIME

ISO = (
    r"^\s*(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*"
    r"(?P<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?)?\s*$"
)

EPOCH = r"^\s*\d{9,19}(?:\.\d+)?\s*$"

FIRST_EPOCH = 1e8  # seconds; smaller numbers are offsets, not dates

SPREADSHEET_DAYS = (36_526.0, 73_050.0)  # 2000 to 2100 in days, as spreadsheets count them

FIRST_YEAR = 946_684_800_000_000  # 2000; an epoch before it counts from another year than 1970

CLOCK = r"^\s*(?:(\d{1,3}):)?(\d{1,2}):(\d{2}(?:[.,]\d{1,9})?)\s*$"

SECONDS = r"^\s*\d{1,8}(?:\.\d+)?\s*$"

COMPACT_DIGITS = r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"

COMPACT_CLOCK = COMPACT_DIGITS + r"(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?$"

EPOCH_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (1e20, 0.001))

NAIVE = "The time names no zone."

UNREADABLE = "The time is neither ISO 8601 nor an epoch."

AMBIGUOUS = "The date could be two days: day and month are told apart by nothing."

FUTURE = "The time lies in the future."

TIME_REMEDY = (
    "Write times as 2024-05-01T12:30:00Z. Numbers such as 45413 are days of a spreadsheet: give "
    "their cells the format of a date before you export."
)


def to_utc(values: pl.Series, timezone: str, order: str = "ask") -> pl.DataFrame:
    """UTC times of a column of any type.

    Args:
        values: the column.
        timezone: of times that name none; "" if none was given.
        order: what comes first in 03/04/2024: ``dmy``, ``mdy`` or ``ask``.

    Returns:
        One row a value: ``time`` (UTC, microseconds), ``naive`` (it needs a zone and there
        is none), ``bad`` (a value that is no time), ``date_only`` (a date without a time),
        ``ambiguous`` (bad because day and month cannot be told apart), ``offset`` (microseconds
        from the start of something; only where no value of the column is a time).
    """
    kind = values.dtype
    if kind == pl.String:
        return _with_offsets(_from_text(values, timezone, order), values)
    if kind.is_numeric():
        if _is_compact(values):
            texts = values.cast(pl.Int64, strict=False).cast(pl.String)
            return _result(_from_text(texts, timezone, order))
        return _with_offsets(_result(_from_epoch(values)), values)
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
    if kind in (pl.Duration, pl.Time):
        unit = pl.col("v").cast(pl.Duration("us")).dt.total_microseconds()
        nothing = pl.lit(None, dtype=UTC_TIME)
        return _result(frame.select(time=nothing, offset=unit))
    unknown = pl.Series("time", [None] * len(values), dtype=UTC_TIME)
    return _result(pl.DataFrame([unknown, values.is_not_null().alias("bad")]))


def _is_compact(values: pl.Series) -> bool:
    """Whether every number spells a calendar time: 20240501, 202405011000, 20240501100000."""
    digits = values.drop_nulls().cast(pl.Int64, strict=False).cast(pl.String)
    if not len(digits) or digits.null_count():
        return False
    day = digits.str.contains(COMPACT_DIGITS + "$")
    return bool((day | digits.str.contains(COMPACT_CLOCK)).all())


def _with_offsets(times: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
    """Offsets, where every value is one: clocks, or numbers too small for a date."""
    present = values.is_not_null()
    if not present.any() or times["time"].is_not_null().any():
        return times
    if values.dtype == pl.String:
        parts = values.to_frame("v").select(pl.col("v").str.extract_groups(CLOCK).alias("p"))
        part = pl.col("p").struct
        seconds = pl.col("3").str.replace(",", ".").cast(pl.Float64, strict=False)
        clock = parts.select(part.field("1"), part.field("2"), part.field("3")).select(
            o=pl.col("1").cast(pl.Float64).fill_null(0) * 3600
            + pl.col("2").cast(pl.Float64) * 60
            + seconds
        )["o"]
        number = values.to_frame("v").select(
            pl.when(pl.col("v").str.contains(SECONDS)).then(pl.col("v").str.strip_chars())
        )["v"]
        offset = clock.fill_null(number.cast(pl.Float64, strict=False))
    else:
        number = values.cast(pl.Float64)
        offset = number.set(~(number >= 0).fill_null(False) | (number >= FIRST_EPOCH), None)
    if (offset.is_null() & present).any():
        return times
    if offset.drop_nulls().is_between(*SPREADSHEET_DAYS).all():
        return times  # days since 1900, as spreadsheets count
    micros = (offset * 1e6).round().cast(pl.Int64)
    return times.with_columns(offset=micros, bad=pl.lit(False), ambiguous=pl.lit(False))


def _result(frame: pl.DataFrame) -> pl.DataFrame:
    flags = ("naive", "bad", "date_only", "ambiguous")
    missing = [pl.lit(False).alias(name) for name in flags if name not in frame.columns]
    if "offset" not in frame.columns:
        missing.append(pl.lit(None, dtype=pl.Int64).alias("offset"))
    return frame.with_columns(missing)


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


def _from_text(values: pl.Series, timezone: str, order: str) -> pl.DataFrame:
    """ISO 8601 or an epoch in digits; the zone's offset is subtracted by arithmetic."""
    parts = pl.DataFrame({"v": values}).with_columns(pl.col("v").str.extract_groups(ISO).alias("p"))
    parts = parts.unnest("p").with_columns(
        clock=pl.col("time").str.replace(",", ".").fill_null("00:00"),
        date_only=pl.col("date").is_not_null() & pl.col("time").is_null(),
        epoch=pl.when(
            pl.col("v").str.contains(EPOCH)
            & ~pl.col("v").str.strip_chars().str.contains(COMPACT_CLOCK)
        )
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
    frame = frame.select(
        "v",
        "time",
        naive=pl.lit(not timezone) & pl.col("local").is_not_null() & pl.col("zone").is_null(),
        bad=pl.col("v").is_not_null() & pl.col("time").is_null(),
        date_only=pl.col("date_only"),
    )
    if not frame["bad"].any():
        return _result(frame.drop("v"))
    return _result(_spoken(frame, timezone, order))


def _spoken(frame: pl.DataFrame, timezone: str, order: str) -> pl.DataFrame:
    """The same with the values that are no ISO 8601 read as people write them."""
    texts = frame.filter("bad")["v"].unique(maintain_order=True).to_list()
    order = day_order(texts, order)
    rows: list[tuple[str, datetime | None, int | None, bool, bool]] = []
    for text in texts:
        moment = spoken_time(text, order)
        if moment is not None:
            rows.append((text, moment.local, moment.offset, moment.date_only, False))
        elif order == "ask" and is_ambiguous(text):
            rows.append((text, None, None, False, True))
    schema: dict[str, pl.DataType] = {
        "v": pl.String(), "said": pl.Datetime("us"), "minutes": pl.Int64(), "day": pl.Boolean(),
        "ambiguous": pl.Boolean(),
    }  # fmt: skip
    table = pl.DataFrame(rows, schema=schema, orient="row")
    frame = frame.join(table, on="v", how="left", maintain_order="left")
    zoned = pl.col("said") - pl.duration(minutes=pl.col("minutes").fill_null(0))
    time = (
        pl.when(pl.col("minutes").is_not_null())
        .then(zoned.dt.replace_time_zone("UTC"))
        .otherwise(_in_zone(pl.col("said"), timezone or "UTC"))
    )
    frame = frame.with_columns(time=pl.col("time").fill_null(time))
    return frame.select(
        "time",
        naive=pl.col("naive")
        | (pl.lit(not timezone) & pl.col("said").is_not_null() & pl.col("minutes").is_null()),
        bad=pl.col("bad") & pl.col("time").is_null(),
        date_only=pl.col("date_only") | pl.col("day").fill_null(False),
        ambiguous=pl.col("ambiguous").fill_null(False),
    )


def _from_epoch(values: pl.Series) -> pl.DataFrame:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, by their size."""
    number = pl.col("v").cast(pl.Float64)
    scaled = pl.lit(None, dtype=pl.Float64)
    for limit, factor in reversed(EPOCH_UNITS):
        scaled = pl.when(number < limit).then(number * factor).otherwise(scaled)
    scaled = pl.when(number >= FIRST_EPOCH).then(scaled)
    scaled = pl.when(scaled >= FIRST_YEAR).then(scaled)
    frame = pl.DataFrame({"v": values}).with_columns(us=scaled.round().cast(pl.Int64))
    time = pl.col("us").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = frame.with_columns(time=time)
    return _result(frame.select("time", bad=pl.col("v").is_not_null() & pl.col("time").is_null()))


CLOCK_AND_HALF = r"^\s*\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([AaPp]\.?[Mm]\.?)?\s*$"

CLOCK_NAMES = ("time", "clock", "hour", "uhrzeit", "hora", "heure", "ora")

DATE_NAMES = ("date", "day", "datum", "fecha", "dato")


def date_beside(header: Iterable[str], time: str) -> str | None:
    """The column of the date where another one holds the clock; None where there is none.

    Args:
        header: names of a table.
        time: the column that was taken for the time.
    """
    if normal(time) not in CLOCK_NAMES:
        return None
    dates = [name for name in header if normal(name) in DATE_NAMES and name != time]
    return dates[0] if len(dates) == 1 else None


def joined(dates: pl.Series, clocks: pl.Series) -> pl.Series:
    """Dates and clocks of two columns as one text, where all are clocks; else the clocks as they
    are, for they hold whole times.
    """
    texts = clocks.cast(pl.String)
    are_clocks = texts.str.contains(CLOCK_AND_HALF)
    if not are_clocks.all() or texts.null_count() == len(texts):
        return clocks
    return (dates.cast(pl.String) + " " + texts).rename(clocks.name)


def latest() -> datetime:
    """The latest time that is not in the future; a day is left for clocks that disagree."""
    return datetime.now(UTC) + timedelta(days=1)


def check_zones(times: pl.DataFrame, rows: pl.Series, file: Path) -> None:
    """Refuse what concerns the whole column: times without a zone, dates that are two days.

    Raises:
        LeadlineError: either; names the first row.
    """
    if times["ambiguous"].any():
        raise ambiguous_error(file, rows.filter(times["ambiguous"])[0])
    if times["naive"].any():
        raise naive_error(file, rows.filter(times["naive"])[0])


def ambiguous_error(file: Path, row: int | str | None) -> LeadlineError:
    """The error for a date that could be two days. It concerns all rows."""
    return LeadlineError(
        AMBIGUOUS,
        remedy="Say which comes first: --date-order dmy (3 April is 03/04) or mdy.",
        file=file,
        row=row,
    )


def naive_error(file: Path, row: int | str | None) -> LeadlineError:
    """The error for a time without a zone. It concerns all rows, so no row can be skipped."""
    return LeadlineError(
        NAIVE,
        remedy="Say which zone the times are in, for example --timezone UTC or "
        "--timezone America/New_York.",
        file=file,
        row=row,
    )
