"""Which readings of a cohort are labelled, and the few-shot examples from its gold labels.

Locked test people are left out here, before any text is rendered, and refused once more as
few-shot examples: no later step can bring them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_timeline
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, label_readings, timelines_to_read, unlabelled_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.teacher.rubric import FewShotExample
from leadline.teacher.transcript import TeacherReading, render


def cohort_readings(
    cohort: Cohort, window: WindowConfig, who: str, chosen: Collection[str] | None = None
) -> Iterator[TeacherReading]:
    """Readings to label, in the order of the cohort, never of a locked person.

    Args:
        cohort: with its gold labels.
        window: which text counts.
        who: ``labelled`` gives each gold label's own reading, ``unlabelled`` the reading that
            ends at the last user turn of people who have no gold reading, ``all`` both.
        chosen: of the people without gold reading, those who are rated; None for all.
    """
    gold: dict[tuple[object, ...], pl.DataFrame] = {}
    unlabelled: dict[str, Span] = {}
    if who != "unlabelled":
        open_readings = label_readings(cohort, window).filter(~pl.col("locked"))
        gold = open_readings.partition_by("person_id", as_dict=True)
    if who != "labelled":
        spans = ((item.person_id, span) for item, span in unlabelled_readings(cohort, window))
        unlabelled = {who: span for who, span in spans if chosen is None or who in chosen}
    for timeline in timelines_to_read(cohort, window):
        readings, span = gold.get((timeline.person_id,)), unlabelled.get(timeline.person_id)
        if readings is None and span is None:
            continue
        timeline = mask_timeline(timeline, window)
        if readings is not None:
            for time, *ends in readings.select("time", "first", "last").iter_rows():
                yield reading_of(timeline, Span(0, *ends), time)
        if span is not None:
            yield reading_of(timeline, span, _moment(timeline.as_of[timeline.user[span.last]]))


def reading_of(timeline: Timeline, span: Span, as_of: datetime | None) -> TeacherReading:
    """The reading `span` of a person, with what was said between its user turns."""
    messages = timeline.slice(span.first, span.last)
    return TeacherReading(timeline.person_id, as_of, messages, span.first, span.last)


def spread_people(cohort: Cohort, window: WindowConfig, count: int) -> list[str]:
    """`count` people with a PHQ-9 and text, evenly spread over the severities; none is locked.

    Nobody is taken whose words are near-copies of another's: an example would show a teacher the
    PHQ-9 of the very person who is to be rated under another id.

    Raises:
        LeadlineError: fewer such people.
    """
    gold = label_readings(cohort, window).filter(
        (pl.col("instrument") == "phq9")
        & ~pl.col("locked")
        & ~pl.col("person_id").is_in(list(cohort.copy_groups))
    )
    people = gold.unique("person_id", keep="last").sort("total", "person_id")
    if people.height < count:
        raise LeadlineError(
            f"--examples is {count}; {people.height} people have a PHQ-9 and text.",
            remedy=f"Use --examples {people.height} or fewer.",
        )
    places = np.linspace(0, people.height - 1, count).round().astype(np.int64)
    return people["person_id"].gather(places).to_list()


def gold_examples(
    cohort: Cohort, window: WindowConfig, people: Iterable[str], *, max_chars: int = 0
) -> tuple[FewShotExample, ...]:
    """Few-shot examples: the last gold reading of each of `people`, in the order given.

    Args:
        cohort: with its gold labels.
        window: which text counts.
        people: ids of training people; the caller chooses them within the training folds.
        max_chars: longest transcript of an example, 0 for no limit.

    Raises:
        LeadlineError: one of them is a locked test person or has no PHQ-9 total with text.
    """
    people = list(people)
    refuse_locked_examples(people, cohort.locked_ids)
    gold = label_readings(cohort, window).filter(pl.col("instrument") == "phq9")
    by_person = {name: gold.filter(pl.col("person_id") == name).tail(1) for name in people}
    people_read = (
        item for item in timelines_to_read(cohort, window) if item.person_id in by_person
    )
    lines = {item.person_id: mask_timeline(item, window) for item in people_read}
    missing = sum(rows.is_empty() for rows in by_person.values())
    if missing:
        raise LeadlineError(
            f"{missing} of the people for few-shot examples have no PHQ-9 total with text.",
            remedy="Choose people who have both.",
        )
    return tuple(
        _example(lines[name], rows.row(0, named=True), cohort.phq9, max_chars)
        for name, rows in by_person.items()
    )


def refuse_locked_examples(people: Iterable[str], locked: frozenset[str]) -> None:
    """Raise if a few-shot example is of a locked test person."""
    locked_count = len(set(people) & locked)
    if locked_count:
        raise LeadlineError(
            f"{locked_count} of the few-shot examples are of locked test people.",
            remedy="Take examples from the training folds only.",
        )


def _example(
    timeline: Timeline, row: dict[str, Any], phq9: pl.DataFrame, max_chars: int
) -> FewShotExample:
    reading = reading_of(timeline, Span(0, row["first"], row["last"]), row["time"])
    scores = phq9.select(ITEM_COLUMNS).row(row["label"])
    transcript = render(reading.messages, reading.person_id, max_chars=max_chars)
    return FewShotExample(timeline.person_id, transcript, scores, round(row["total"]))


def _moment(time: np.datetime64) -> datetime | None:
    if np.isnat(time):
        return None
    moment: datetime = time.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)
