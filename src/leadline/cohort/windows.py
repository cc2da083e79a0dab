"""Which text is read for which PHQ-9.

A person's conversations are one timeline, read left to right. A *reading* is a stretch of
the person's own turns, first to last, both included. The reading of a PHQ-9 holds the turns
said in the `days` before it; the reading of a turn holds the turns of the `days` up to that turn.

Nothing that may have been said after a PHQ-9 is read for it, whoever said it. A reader of context
sees all messages before the end of a reading, so a reading ends before the first message that is
later than the PHQ-9, also where messages stand out of order. Text without a time may be later than
any PHQ-9 that has one, and the other way round, so it is left out: a reading ends before the
first turn of the person that has no time, and messages of others without a time are passed over.
With `WindowConfig.undated` all of it is taken as said before. Where a person has no time at all,
neither of text nor of a PHQ-9, the transcript is the one that the PHQ-9 belongs to.

A test that was locked by time begins at a cut-off. Of the people outside it nothing from then on is
read, and none of their PHQ-9s from then on is; of the people in it, none before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_timeline
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline, timelines


@dataclass(frozen=True)
class Span:
    """A reading: user turns first to last, both included, of a person.

    Attributes:
        person: row of the person among the people read.
        first, last: places among the person's own turns.
    """

    person: int
    first: int
    last: int

    @property
    def turns(self) -> slice:
        """The user turns as a slice."""
        return slice(self.first, self.last + 1)


READINGS: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "label": pl.Int64(),  # row of phq9.parquet
    "time": pl.Datetime("us", "UTC"),
    "total": pl.Float64(),
    "instrument": pl.String(),
    "first": pl.Int32(),  # of the person's user turns, included
    "last": pl.Int32(),  # of the person's user turns, included
    "user_turns": pl.Int32(),
    "user_words": pl.Int32(),
    "locked": pl.Boolean(),
}


def window_starts(
    times: npt.NDArray[np.datetime64], as_of: npt.NDArray[np.datetime64], days: float
) -> npt.NDArray[np.int64]:
    """First user turn within `days` before each time of `as_of`.

    Args:
        times: the person's user-turn times in order, shape (U,); NaT counts as within.
        as_of: the times that the windows end at, shape (K,); NaT keeps everything.
        days: window length; 0 keeps everything.

    Returns:
        Shape (K,): the smallest index u such that no turn from u on is older than the window.
    """
    if days == 0 or not len(times):
        return np.zeros(len(as_of), dtype=np.int64)
    length = np.timedelta64(int(days * 86_400_000_000), "us")
    # NaT compares as False with everything, so undated text or labels are never "too old".
    old = times[None, :] <= (as_of - length)[:, None]
    reverse = old[:, ::-1]
    has_old = reverse.any(axis=1)
    return np.where(has_old, len(times) - reverse.argmax(axis=1), 0)


def running_starts(timeline: Timeline, window: WindowConfig) -> npt.NDArray[np.int64]:
    """First user turn of the reading that ends at each user turn, shape (U,)."""
    return starts_at(timeline.user_times, 0, window.days)


def starts_at(times: npt.NDArray[np.datetime64], first: int, days: float) -> npt.NDArray[np.int64]:
    """First user turn of the readings that end at the user turns `first` and later.

    A turn said later has no say, also where times are out of order.

    Args:
        times: of the person's user turns in the order of reading, shape (U,); NaT if unknown.
        first: the first turn at which a reading ends.
        days: window length; 0 keeps everything.

    Returns:
        Shape (U - first,): the smallest index u such that no turn from u up to the last of the
        reading is older than the window.
    """
    ends = np.arange(first, len(times))
    if days == 0 or not len(ends):
        return np.zeros(len(ends), dtype=np.int64)
    length = np.timedelta64(int(days * 86_400_000_000), "us")
    if (np.diff(times) >= np.timedelta64(0, "us")).all():
        starts = np.searchsorted(times, times[first:] - length, side="right")
    else:
        starts = np.array(
            [window_starts(times[: end + 1], times[end : end + 1], days)[0] for end in ends]
        )
    return np.minimum(starts, ends).astype(np.int64)


def timelines_to_read(cohort: Cohort, window: WindowConfig) -> Iterator[Timeline]:
    """The timelines that readings are cut from, in the order of the cohort.

    What others said without a time is left out for people who have a dated PHQ-9, unless the
    window takes it. What people outside a test locked by time said from its cut-off on is left out,
    and what they may have said then. Places among the person's own turns are those of `timelines`.
    """
    cutoff = _naive(cohort.cutoff)
    dated = set(cohort.phq9.filter(pl.col("time").is_not_null())["person_id"])
    for timeline in timelines(cohort):
        dropped = np.zeros(len(timeline.messages), dtype=bool)
        unknown = np.isnat(timeline.times) & (not window.undated)
        is_cut = not np.isnat(cutoff) and timeline.person_id not in cohort.locked_ids
        if timeline.person_id in dated or is_cut:
            dropped |= unknown
            dropped[timeline.user] = False
        if is_cut:
            late = (timeline.times >= cutoff) | (unknown & ~dropped)
            dropped |= np.logical_or.accumulate(late)
        # Masked first: an answer stands where its question is left out.
        yield mask_timeline(timeline, window).without(dropped) if dropped.any() else timeline


def label_readings(cohort: Cohort, window: WindowConfig) -> pl.DataFrame:
    """The reading of each PHQ-9 that has enough text, as a table of `READINGS`.

    A label without text in its window has no row: nothing was said, nothing is estimated. With a
    test locked by time, labels of other people from the cut-off on have none either.
    """
    locked = dict(cohort.people.select("person_id", "locked").iter_rows())
    table = cohort.phq9.with_row_index("label")
    if cohort.cutoff is not None:
        in_test = pl.col("person_id").is_in(list(cohort.locked_ids))
        table = table.filter((pl.col("time") >= cohort.cutoff) == in_test)  # null: neither
    labels = table.partition_by("person_id", as_dict=True)
    rows: list[tuple[object, ...]] = []
    for timeline in timelines_to_read(cohort, window):
        person_labels = labels.get((timeline.person_id,))
        if person_labels is not None and len(timeline.user):
            rows += _person_readings(
                timeline, person_labels, window, bool(locked[timeline.person_id])
            )
    return pl.DataFrame(rows, schema=READINGS, orient="row")


def _naive(moment: datetime | None) -> np.datetime64:
    """A moment as times of timelines are; NaT for None."""
    return np.datetime64(moment and moment.astimezone(UTC).replace(tzinfo=None), "us")


def _person_readings(
    timeline: Timeline, labels: pl.DataFrame, window: WindowConfig, locked: bool
) -> list[tuple[object, ...]]:
    as_of = labels["time"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    lasts = _last_turns(timeline, as_of, undated=window.undated)
    words = np.concatenate([[0], np.cumsum(timeline.user_words())])
    rows: list[tuple[object, ...]] = []
    columns = ("label", "time", "total", "instrument")
    for (label, time, total, instrument), last, moment in zip(
        labels.select(columns).iter_rows(), lasts.tolist(), as_of, strict=True
    ):
        before = timeline.user_times[: last + 1]
        start = int(window_starts(before, np.array([moment]), window.days)[0])
        count = last - start + 1
        if total is None or count < window.min_turns:
            continue
        word_count = int(words[last + 1] - words[start])
        head = (timeline.person_id, label, time, total, instrument)
        rows.append((*head, start, last, count, word_count, locked))
    return rows


def _last_turns(
    timeline: Timeline, as_of: npt.NDArray[np.datetime64], *, undated: bool
) -> npt.NDArray[np.int64]:
    """The last user turn before which nothing may be later than each PHQ-9; -1 if there is none.

    Args:
        timeline: what was said.
        as_of: the times of all PHQ-9s of the person, shape (K,); NaT if unknown.
        undated: what has no time is taken as said before.
    """
    times = timeline.times
    later = times[None, :] > as_of[:, None]  # never true for NaT on either side
    if not undated:
        unknown, no_label_time = np.isnat(times), np.isnat(as_of)
        anything_dated = not (unknown.all() and no_label_time.all())
        later |= unknown[None, :] & anything_dated
        later |= no_label_time[:, None] & anything_dated
    ends = np.where(later.any(axis=1), later.argmax(axis=1), len(times))
    return np.searchsorted(timeline.user, ends) - 1


def undated_counts(cohort: Cohort) -> dict[str, int]:
    """What cannot be placed in time, so that it is left out or taken on request.

    Returns:
        ``turns``: messages without a time of people who have a dated PHQ-9. ``labels``: PHQ-9s
        without a time of people who have dated text or a dated PHQ-9.
    """
    has_time = pl.col("time").is_not_null()
    dated_labels = cohort.phq9.lazy().filter(has_time).select("person_id").unique()
    dated_people = pl.concat(
        [dated_labels, cohort.turns.lazy().filter(has_time).select("person_id")]
    )
    tables = {"turns": (cohort.turns, dated_labels), "labels": (cohort.phq9, dated_people.unique())}
    return {
        name: table.lazy()
        .filter(~has_time)
        .join(people, on="person_id", how="semi")
        .select(pl.len())
        .collect()
        .item()
        for name, (table, people) in tables.items()
    }


def unlabelled_readings(
    cohort: Cohort, window: WindowConfig, *, first_row: int = 0
) -> Iterator[tuple[Timeline, Span]]:
    """The last reading of each person without gold: the one that ends at their last user turn.

    Yields people in the order of the cohort who are not locked, have no reading of any
    questionnaire, and have enough turns in the window. A teacher rates these readings and a
    student takes the ratings, so both must ask here.

    Args:
        cohort: with its gold labels.
        window: which text counts.
        first_row: `Span.person` of the first of them.
    """
    excluded = set(label_readings(cohort, window)["person_id"]) | cohort.locked_ids
    row = first_row
    for timeline in timelines_to_read(cohort, window):
        if timeline.person_id in excluded or not len(timeline.user):
            continue
        last = len(timeline.user) - 1
        first = int(running_starts(timeline, window)[last])
        if last - first + 1 >= window.min_turns:
            yield timeline, Span(row, first, last)
            row += 1
