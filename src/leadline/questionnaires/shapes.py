"""Label tables that have no row an administration, brought into that form.

- Several visits of a person in one row (``phq9_total_baseline``, ``phq9_total_week4``;
  ``t0_phq9_1`` ... ``t1_phq9_9``): a row each. A column without a visit belongs to all of them,
  except a date: that of one visit, or of enrolment, is no date of the others.
- One row an answer (person, date, item, answer; REDCap's record, event, field_name, value): the
  answers of a person at one time are put together.
- Several instruments in one column (PHQ-9 beside GAD-7): rows of others are left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from leadline.errors import LeadlineError
from leadline.phq9.items import LOINC_ITEMS, LOINC_PANEL, LOINC_TOTAL
from leadline.questionnaires.answers import ENOUGH, items_of
from leadline.sources.names import instrument_of, item_number, looks_like, normal, words
from leadline.sources.quoting import listed, sayable
from leadline.sources.rejects import RejectedRows

OTHER_ROWS = "rows of other questionnaires than the PHQ, left out"

VISITS = "tables with several visits a row, a row made of each"

ANSWERS = "tables with one row an answer, put together by person and time"

ALONE = re.compile(
    r"^(?:baseline|bl|base|pre|pretest|post|posttest|intake|screening|admission|discharge|mid|"
    r"midpoint|midterm|endpoint|exit|final|followup|fup?|eot|enrollment|treatment|inicial|basal|"
    r"anfang|ende|vorher|nachher|debut|fin|inicio|fim)\d*$"
    r"|^(?:t|v|w|wk|week|wks|m|mo|month|months|d|day|visit|session|sess|wave|time|timepoint|tp|"
    r"fu|y|yr|year|round|assessment|survey|s)\d{1,3}$"
)
"""Words that name a visit."""

BEFORE_NUMBER = frozenset((
    "t", "v", "w", "wk", "week", "m", "month", "day", "visit", "session", "wave", "time",
    "timepoint", "followup", "up", "year", "round", "assessment", "survey", "baseline", "fu",
))  # fmt: skip
"""Words that name a visit with a number after them: ``week_4``, ``follow_up_2``."""

ITEM_WORDS = frozenset(("item", "question", "field", "variable", "linkid", "measure", "itemid",
                        "questionid", "code", "name", "element", "qstestcd", "testcd", "paramcd",
                        "param", "qstest", "test", "index", "concept", "observation"))  # fmt: skip

ANSWER_WORDS = frozenset(("value", "answer", "response", "score", "rating", "result", "val",
                          "antwort", "respuesta", "qsorres", "qsstresn", "aval",
                          "orres"))  # fmt: skip

EVENT_WORDS = frozenset(("event", "instance", "visit", "wave", "timepoint", "session", "response",
                         "administration", "assessment", "submission", "survey", "week", "form",
                         "encounter", "completion", "round", "period"))  # fmt: skip

INSTRUMENT_NAMES = ("instrument", "questionnaire", "measure", "scale", "test", "assessment",
                    "instrument_name", "questionnaire_name", "measure_name", "scale_name",
                    "survey_name", "test_name", "assessment_name")  # fmt: skip

REMARKS = frozenset(("note", "notes", "comment", "comments", "remark", "remarks", "text", "answer"))

LONGEST_TITLE = 14  # words of a name of a questionnaire, and not of a remark

MOST_INSTRUMENTS = 40  # values of a column that names the questionnaire of each row

CDISC = re.compile(r"^PHQ01(0[1-9]|1[01])$", re.IGNORECASE)  # QSTESTCD of the SDTM

CDISC_NAMES = {10: "difficulty", 11: "total"}

CODES = {code: f"item_{place}" for place, code in enumerate(LOINC_ITEMS, 1)} | {
    LOINC_TOTAL: "total"
}

NUMBERS = re.compile(r"^(?:item|question|q|phq[ -]?[89]?)?[ _.-]*0?([1-9])(?:\.0)?$", re.IGNORECASE)


class Reshaped(NamedTuple):
    """A label table with one row an administration.

    Attributes:
        frame: its rows, with ``__row``.
        texts: what was asked under each column, where the table says so.
        used: column of the file -> what it was taken for, where the form was changed.
    """

    frame: pl.DataFrame
    texts: dict[str, str]
    used: dict[str, str]


def one_row_each(
    frame: pl.DataFrame,
    explicit: Mapping[str, str],
    texts: Mapping[str, str],
    file: Path,
    ledger: RejectedRows,
) -> Reshaped:
    """A label table with one row an administration, whatever its form.

    Args:
        frame: all rows, with ``__row``.
        explicit: columns that were named; those that say what an answer is forbid any change.
        texts: what was asked under each column.
        file: for errors.
        ledger: counts.

    Raises:
        LeadlineError: visits have no date, or the answers of one time contradict each other.
    """
    used: dict[str, str] = {}
    if set(explicit) - {"person", "time", "instrument"}:
        return Reshaped(frame, dict(texts), used)
    frame = _of_phq(frame, explicit, used, file, ledger)
    pair = _answer_columns(frame, explicit)
    if pair is not None:
        return _put_together(frame, pair, explicit, file, ledger)
    frame = _results(frame, explicit, used)
    visits = visits_of([name for name in frame.columns if name != "__row"])
    if visits and "time" not in explicit:
        return _unfolded(frame, visits, texts, file, ledger)
    return Reshaped(frame, dict(texts), used)


def _of_phq(
    frame: pl.DataFrame,
    explicit: Mapping[str, str],
    used: dict[str, str],
    file: Path,
    ledger: RejectedRows,
) -> pl.DataFrame:
    """The rows of a PHQ, where one column names the questionnaire of each row."""
    for name, kind in frame.schema.items():
        if name in explicit.values() or kind != pl.String:
            continue
        values = frame[name].drop_nulls().unique().to_list()
        if not _may_name(name, values):
            continue
        of_phq = [value for value in values if _is_phq(value)]
        if not of_phq and len(values) > 1 and normal(name) in INSTRUMENT_NAMES:
            named = sayable(name, f"number {frame.columns.index(name)}")
            raise LeadlineError(
                f"The column {named} names several questionnaires, and none of them is a PHQ.",
                remedy="Leave the rows of the PHQ-9 in the table, or write PHQ-9 in that column.",
                file=file,
                row=1,
            )
        if not of_phq or len(of_phq) == len(values):
            continue
        used[name] = "instrument"
        others = ~frame[name].is_in(of_phq)
        ledger.note(OTHER_ROWS, int(others.sum()))
        rows = frame.filter(~others)
        instruments = [_instrument_named(value) for value in of_phq]
        if len(set(instruments)) > 1 and "instrument" not in rows.columns:
            by_value = dict(zip(of_phq, instruments, strict=True))
            rows = rows.with_columns(instrument=pl.col(name).replace_strict(by_value))
        return rows
    return frame


def _may_name(name: str, values: Sequence[str]) -> bool:
    """Whether a column could name the questionnaire of each row: no items, no remarks."""
    if len(values) > MOST_INSTRUMENTS and not set(values) & {LOINC_TOTAL, LOINC_PANEL}:
        return False
    if set(words(name)) & REMARKS or any(len(words(value)) > LONGEST_TITLE for value in values):
        return False
    return not any(item_number(value) or value.strip() in LOINC_ITEMS for value in values)


def _results(
    frame: pl.DataFrame, explicit: Mapping[str, str], used: dict[str, str]
) -> pl.DataFrame:
    """A table of results, each named in another column, of which those of a PHQ are left.

    OMOP's measurements, flowsheets of a hospital, ``variable, value``: the value is the total.
    """
    header = [name for name in frame.columns if name != "__row"]
    naming = [
        name
        for name, kind in frame.schema.items()
        if kind == pl.String
        and name in header
        and frame[name].drop_nulls().len()
        and all(map(_is_phq, frame[name].drop_nulls().unique()))
    ]
    named = [name for name in naming if name in used] or naming
    columns = [name for name in header if name not in (*explicit.values(), *naming)]
    if (
        not named
        or items_of(columns)
        or any(looks_like(name) == "score" and instrument_of(name) for name in columns)
    ):
        return frame
    results = [name for name in _answers(columns) if looks_like(name) in (None, "score")]
    if len(results) != 1:
        results = [
            name for name in results if "number" in words(name) or frame[name].dtype.is_numeric()
        ]
    if len(results) != 1:
        return frame
    used |= {named[0]: "instrument", results[0]: "total"}
    instruments = {
        str(value): _instrument_named(str(value)) for value in frame[named[0]].drop_nulls().unique()
    }
    frame = frame.rename({results[0]: "total"})
    if "instrument" in frame.columns or set(instruments.values()) == {"phq"}:
        return frame
    return frame.with_columns(instrument=pl.col(named[0]).replace_strict(instruments, default=None))


def _is_phq(value: str) -> bool:
    """Whether a value names a PHQ or its total."""
    return _instrument_named(value) is not None and (
        looks_like(value) in ("score", None) or value.strip() == LOINC_TOTAL
    )


def _instrument_named(value: str) -> str | None:
    """The instrument that a value names, in words or as the LOINC code of its total."""
    return "phq9" if value.strip() in (LOINC_TOTAL, LOINC_PANEL) else instrument_of(value)


def _answer_columns(
    frame: pl.DataFrame, explicit: Mapping[str, str]
) -> tuple[str, str, dict[str, str]] | None:
    """The column of the item, that of its answer, and value -> item, of one row an answer."""
    spare = [name for name in frame.columns if name not in (*explicit.values(), "__row")]
    answers = _answers(spare)
    for name in spare:
        if not set(words(name)) & ITEM_WORDS or name in answers[:1] or not answers:
            continue
        values = [str(value) for value in frame[name].drop_nulls().unique()]
        by_value = _item_names(values)
        if by_value:
            answer = next((column for column in answers if column != name), None)
            return None if answer is None else (name, answer, by_value)
    return None


def _answers(names: Sequence[str]) -> list[str]:
    """Columns that could hold the answers or results of rows, those of totals last."""
    answers = [name for name in names if set(words(name)) & ANSWER_WORDS
               and not set(words(name)) & {"id", "date", "time", "source", "concept"}]  # fmt: skip
    return sorted(answers, key=lambda name: looks_like(name) == "score")


def _item_names(values: Sequence[str]) -> dict[str, str]:
    """Value -> name of its item; empty where the values are not the items of a PHQ."""
    codes = {value: CODES[value.strip()] for value in values if value.strip() in CODES}
    if len(codes) > ENOUGH:
        return codes
    tests = {value: int(match[1]) for value in values if (match := CDISC.match(value.strip()))}
    if len(tests) >= ENOUGH:
        return {value: CDISC_NAMES.get(number, f"item_{number}") for value, number in tests.items()}
    if set(values) == {str(number) for number in range(len(values))} and len(values) in (8, 9):
        return {value: f"item_{int(value) + 1}" for value in values}  # numbered from 0
    numbers = {value: match[1] for value in values if (match := NUMBERS.match(value.strip()))}
    if "0" in values:
        return {}
    if len(set(numbers.values())) >= ENOUGH and len(numbers) >= len(values) - 1:
        return {value: f"item_{number}" for value, number in numbers.items()}
    items = items_of(values)
    if len(items) < ENOUGH:
        return {}
    return {value: f"item_{place + 1}" for place, value in items.items()}


def _put_together(
    frame: pl.DataFrame,
    pair: tuple[str, str, dict[str, str]],
    explicit: Mapping[str, str],
    file: Path,
    ledger: RejectedRows,
) -> Reshaped:
    """The answers of a person at one time in one row; other fields become columns too."""
    item, answer, by_value = pair
    spare = [name for name in frame.columns if name not in (item, answer, "__row")]
    keys = [name for name in spare if name in explicit.values() or _is_key(name)]
    frame = frame.with_columns(pl.col(item).cast(pl.String), pl.col(answer).cast(pl.String))
    frame = frame.with_columns(frame[item].replace(by_value)).drop_nulls(item)
    twice = frame.filter(pl.struct(*keys, item).is_duplicated() & pl.col(answer).is_not_null())
    if twice.height:
        raise LeadlineError(
            "An item is answered twice by a person at one time.",
            remedy="Give each administration its own date, or a column such as visit.",
            file=file,
            row=twice["__row"][0],
        )
    totals = [name for name in spare if name not in keys and looks_like(name) == "score"
              and (frame.group_by(keys).agg(pl.col(name).n_unique())[name] == 1).all()]  # fmt: skip
    wide = frame.pivot(item, index=[*keys, *totals], values=answer, aggregate_function="first",
                       maintain_order=True)  # fmt: skip
    first = frame.group_by(keys, maintain_order=True).agg(pl.col("__row").first())
    _refuse_scattered(wide, file)
    ledger.note_once(file, ANSWERS, 1)
    used = {item: "item", answer: "answer"}
    return Reshaped(wide.with_columns(first["__row"]), {}, used)


def _is_key(name: str) -> bool:
    """Whether a column tells administrations apart: the person, the date, the event."""
    if looks_like(name) in ("person", "time", "conversation") or set(words(name)) & EVENT_WORDS:
        return True
    return set(words(name)) <= {"record", "id", "subject", "instrument", "study", "participant"}


def _refuse_scattered(wide: pl.DataFrame, file: Path) -> None:
    items = [name for name in wide.columns if name.startswith("item_")]
    answered = wide.select(pl.sum_horizontal(pl.col(name).is_not_null() for name in items))
    if wide.height >= 2 and (answered.to_series() <= 1).all():
        raise LeadlineError(
            "Each row is one answer, and no two answers of a person have the same time, so that "
            "the answers of one administration cannot be told.",
            remedy="Give the answers of one administration one time, or a column such as visit.",
            file=file,
            row=2,
        )


def visits_of(header: Sequence[str]) -> dict[str, dict[str, str]]:
    """Visit -> name without the visit -> column; empty unless a PHQ stands at several visits.

    >>> visits_of(["id", "phq9_pre", "phq9_post"])
    {'pre': {'phq9': 'phq9_pre'}, 'post': {'phq9': 'phq9_post'}}
    """
    visits: dict[str, dict[str, str]] = {}
    for name in header:
        visit, rest = _parted(name)
        if visit and rest:
            visits.setdefault(visit, {}).setdefault(rest, name)
    with_answers = [visit for visit, columns in visits.items() if any(map(_is_answer, columns))]
    if len(with_answers) < 2:
        return {}
    return {visit: visits[visit] for visit in with_answers}


def _is_answer(rest: str) -> bool:
    instrument = instrument_of(rest)
    if looks_like(rest) == "item" or instrument in ("phq9", "phq8", "phq"):
        return True
    return instrument is not None and looks_like(rest) == "score"


def _parted(name: str) -> tuple[str, str]:
    """The visit that a name names, and the rest of it; "" where it names none."""
    parts = list(words(name))
    for place, word in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else ""
        if word == "follow" and following == "up":
            after = parts[place + 2] if place + 2 < len(parts) else ""
            size = 3 if after.isdigit() else 2
        elif word in BEFORE_NUMBER and following.isdigit() and len(parts) > 2:
            size = 2
        elif ALONE.match(word):
            size = 1
        else:
            continue
        visit = "".join(parts[place : place + size])
        return visit, "_".join(parts[:place] + parts[place + size :])
    rest = "_".join(parts[:-1])
    numbered = len(parts) > 1 and parts[-1].isdigit() and item_number(name) is None
    if numbered and looks_like(rest) in ("score", "time") and not rest.endswith("item"):
        return parts[-1], rest
    return "", ""


def _unfolded(
    frame: pl.DataFrame,
    visits: Mapping[str, Mapping[str, str]],
    texts: Mapping[str, str],
    file: Path,
    ledger: RejectedRows,
) -> Reshaped:
    """A row of each visit of each person."""
    of_visits = {name for columns in visits.values() for name in columns.values()}
    shared = [name for name in frame.columns
              if name not in of_visits and looks_like(name) not in ("time", "other time")
              and not _parted(name)[0]]  # fmt: skip
    rests = list(dict.fromkeys(rest for columns in visits.values() for rest in columns))
    times = [rest for rest in rests if looks_like(rest) == "time"]
    undated = [visit for visit, columns in visits.items()
               if not any(rest in times for rest in columns)]  # fmt: skip
    if undated:
        first = next(rest for rest in visits[undated[0]] if _is_answer(rest))
        kind = "total" if looks_like(first) == "score" else "item_1"
        choice = f"{kind}={sayable(visits[undated[0]][first])}"
        visit_list = listed(visits, most=12, what="visit")
        date = sayable(undated[0], "VISIT")
        raise LeadlineError(
            f"A row holds {len(visits)} visits of a person ({visit_list}), and there is no "
            f"column for the date of {listed(undated, list(visits), 12, 'visit')}.",
            remedy=f"Add a date of each visit (date_{date} ...), so that no text after a PHQ-9 is "
            f"read for it, or name the one that is meant: --phq9-column {choice}.",
            file=file,
            row=1,
        )
    pieces = []
    for columns in visits.values():
        names = [pl.col(columns[rest]).cast(pl.String).alias(rest) if rest in columns
                 else pl.lit(None, dtype=pl.String).alias(rest) for rest in rests]  # fmt: skip
        pieces.append(frame.select(*shared, *names))
    ledger.note_once(file, VISITS, 1)
    questions = {rest: texts[columns[rest]] for columns in visits.values() for rest in columns
             if columns[rest] in texts}  # fmt: skip
    used = {name: f"{rest}, {visit}" for visit, columns in visits.items()
            for rest, name in columns.items()}  # fmt: skip
    return Reshaped(pl.concat(pieces), {**texts, **questions}, used)
