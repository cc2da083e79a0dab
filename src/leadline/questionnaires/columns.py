"""Which column of a label table holds what, and which instrument it is.

A name is used where it is clear and asked about where it is not: several dates, several totals, a
`PHQ_Score` that does not say which PHQ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leadline.errors import LeadlineError
from leadline.phq9.items import INSTRUMENTS, ITEM_COLUMNS
from leadline.questionnaires.answers import is_zeroth, items_of
from leadline.sources.columns import check_present
from leadline.sources.names import (
    SCORE,
    TIME,
    instrument_of,
    item_number,
    looks_like,
    normal,
    usual_place,
    words,
)
from leadline.sources.quoting import listed, sayable

FLAG = "--phq9-column"

PERSONS = ("person_id", "person", "user_id", "participant_id", "patient_id", "client_id",
           "subject_id", "participant", "record_id", "study_id", "pid", "record",
           "seqn", "id")  # fmt: skip

TIMES = ("time", "date", "timestamp", "completed_at", "created_at", "authored", "phq9_time",
         "date_time", "datetime", "phq9_timestamp", "at", "taken_at", "date_taken",
         "on")  # fmt: skip

PLAIN_SCORES = SCORE | {"depression", "dep", "raw", "value", "phq", "phq9", "phq8", "phq2", "of",
                        "the", "questionnaire", "tot", "scale"}  # fmt: skip

NO_TOTALS = frozenset((
    "binary", "cutoff", "category", "severity", "band", "class", "level", "change", "difference",
    "diff", "complete", "mean", "average", "z", "percentile", "label", "positive", "risk",
    "interpretation",
))  # fmt: skip
"""Words of what is made of a total."""

TEENS = frozenset(("a", "phqa", "teen", "teens", "adolescent", "adolescents", "modified"))
"""Words of the PHQ-9 for teens beside the name of the questionnaire."""

BARE_IDS = (
    "id",
    "编号",
    "編號",
    "序号",
    "番号",
    "번호",
    "номер",
    "kennung",
    "identifiant",
    "معرف",
    "รหัส",
)
"""Names of an identifier of nobody said, which are the person's where no other name is."""

EDAIC = ("phq_binary", "phq8_binary", "pcl_c_ptsd", "ptsd_severity")

SERIES = re.compile(r"^(?:q|item|question)_?0?(\d{1,2})$")

COUNTS = {9: "phq9", 8: "phq8", 2: "phq2"}


@dataclass(frozen=True)
class LabelColumns:
    """Columns of a label table.

    Attributes:
        person: of the identifier.
        time: of the time, "" if there is none.
        total: of the total, "" if there is none.
        items: of the nine items, None where there is none.
        instrument_column: of the instrument, "" if there is none.
        instrument: of rows that name none.
    """

    person: str
    time: str
    total: str
    items: tuple[str | None, ...]
    instrument_column: str
    instrument: str

    def all(self) -> list[str]:
        """Every column that is read."""
        names = (self.person, self.time, self.total, self.instrument_column, *self.items)
        return list(dict.fromkeys(name for name in names if name))


def label_columns(
    header: Sequence[str],
    explicit: Mapping[str, str],
    texts: Mapping[str, str],
    instrument: str,
    file: Path,
) -> LabelColumns:
    """The columns of a label table.

    Args:
        header: its names.
        explicit: kind -> name, as the user gave them.
        texts: name -> what was asked, where the table says so.
        instrument: as set, or ``auto``.
        file: for errors.

    Raises:
        LeadlineError: a column is absent, or several could be meant.
    """
    check_present(header, dict(explicit), FLAG, file)
    columns = dict(explicit)
    spare = [name for name in header if name and name not in columns.values()]
    items = {place: columns[kind] for place, kind in enumerate(ITEM_COLUMNS) if kind in columns}
    if not items:
        items = _items(spare, texts, file)
    spare = [name for name in spare if name not in items.values()]
    if "person" not in columns:
        person = _person(spare, header, file)
        columns |= {"person": person} if person else {}
    if "person" not in columns:
        raise LeadlineError(
            "The table has no column for the person.",
            remedy=f"Say which one it is with {FLAG} person=NAME. The table has: {listed(header)}.",
            file=file,
            row=1,
        )
    spare = [name for name in spare if name != columns["person"]]
    if "instrument" not in columns and any(name.lower() == "instrument" for name in spare):
        columns["instrument"] = next(name for name in spare if name.lower() == "instrument")
    if "total" not in columns:
        total = _total(spare, header, instrument, file)
        columns |= {"total": total} if total else {}
    if "total" not in columns and not items:
        raise _no_answers(header, file)
    if "time" not in columns:
        rest = [name for name in spare if name != columns.get("total")]
        time = _time(rest, header, file)
        columns |= {"time": time} if time else {}
    return LabelColumns(
        columns["person"],
        columns.get("time", ""),
        columns.get("total", ""),
        tuple(items.get(place) for place in range(9)),
        columns.get("instrument", ""),
        _instrument(columns, items, header, instrument, file),
    )


def _no_answers(header: Sequence[str], file: Path) -> LeadlineError:
    """The error for a table without a total and without items, by what it looks like."""
    phq = [name for name in header if instrument_of(name)]
    answers = [name for name in header if set(words(name)) & {"value", "answer", "response"}]
    items = [name for name in header if set(words(name)) & {"item", "question", "field"}]
    others = [name for name in header if looks_like(name) == "score" and not instrument_of(name)]
    problem = "The table has no column for the total."
    remedy = f"Say which one it is with {FLAG} total=NAME. The table has: {listed(header)}."
    if others and not phq:
        problem = (
            f"The table has scores of other questionnaires ({listed(others, header)}) and none of "
            "a PHQ."
        )
    if len(phq) > 1:
        problem = f"The table has several columns of a PHQ: {listed(phq, header, 12)}."
        remedy = (
            f"If one of them is meant, give {FLAG} total=NAME; if they are several times of a "
            "person, write one row each: person_id,time,total."
        )
    elif answers and items:
        item, answer = sayable(items[0]), sayable(answers[0])
        problem = f"Each row seems to be one answer ({listed([items[0], answers[0]], header)})."
        remedy = (f'Write one row an administration: table.pivot(index=["person_id", "time"], '
                  f'columns="{item}", values="{answer}") in pandas.')  # fmt: skip
    return LeadlineError(problem, remedy=remedy, file=file, row=1)


def _items(header: Sequence[str], texts: Mapping[str, str], file: Path) -> dict[int, str]:
    items = items_of(header, texts)
    zeros = [name for name in header if is_zeroth(name)]
    if not items and zeros and sum(item_number(name) is not None for name in header) >= 5:
        raise LeadlineError(
            f"The questions are numbered from 0 ({listed(zeros, header)}), and there are not eight "
            "or nine of them: which are the PHQ-9 is not clear.",
            remedy=f"Name them: {FLAG} item_1=NAME ... {FLAG} item_9=NAME, or {FLAG} total=NAME.",
            file=file,
            row=1,
        )
    if items and all(SERIES.match(name.lower()) for name in items.values()):
        numbers = [int(match[1]) for name in header if (match := SERIES.match(name.lower()))]
        if max(numbers) > 10:
            raise LeadlineError(
                f"The questions are numbered up to {max(numbers)}: which nine are the PHQ-9 is not "
                "clear.",
                remedy=f"Name them: {FLAG} item_1=NAME ... {FLAG} item_9=NAME, or {FLAG} "
                "total=NAME.",
                file=file,
                row=1,
            )
    return items


def _one(kind: str, names: Sequence[str], header: Sequence[str], file: Path) -> str:
    """The only one of some names; "" where there is none."""
    if len(names) > 1:
        raise LeadlineError(
            f"More than one column could be the {kind}: {listed(names, header)}.",
            remedy=f"Say which with {FLAG} {kind}=NAME.",
            file=file,
            row=1,
        )
    return names[0] if names else ""


def _person(spare: Sequence[str], header: Sequence[str], file: Path) -> str:
    exact = [name for name in spare if name.strip().lower() in ("person", "person_id")]
    usual = [name for name in spare if usual_place(name, PERSONS[:-1]) is not None]
    likely = [name for name in spare if looks_like(name) == "person"]
    bare_id = [name for name in spare if normal(name) in BARE_IDS]
    return _one("person", exact or usual or likely or bare_id, header, file)


def _time(spare: Sequence[str], header: Sequence[str], file: Path) -> str:
    exact = [name for name in spare if name.strip().lower() == "time"]
    likely = [name for name in spare if looks_like(name) == "time"
              or usual_place(name, TIMES) is not None]  # fmt: skip
    of_phq = [name for name in likely if instrument_of(name) in ("phq9", "phq8", "phq")]
    ends = [name for name in spare if set(words(name)) & {"end", "ended", "finished"}
            and set(words(name)) & TIME]  # fmt: skip
    return _one("time", exact or of_phq or likely or ends, header, file)


def _total(spare: Sequence[str], header: Sequence[str], instrument: str, file: Path) -> str:
    likely = [name for name in spare if looks_like(name) == "score"
              and set(words(name)) <= PLAIN_SCORES]  # fmt: skip
    likely += [name for name in spare if name not in likely and looks_like(name) == "score"
               and instrument_of(name)]  # fmt: skip
    likely = [name for name in likely if not set(words(name)) & NO_TOTALS]
    order: tuple[str | None, ...] = ("phq9", None, "phq", "phq8", "phq2")
    order = (instrument, *order) if instrument in INSTRUMENTS else order
    exact = [name for name in likely if name.strip().lower() == "total"]
    for kind in order:
        group = [name for name in likely if instrument_of(name) == kind]
        if kind is None and exact:
            group = exact
        if group:
            return _one("total", group, header, file)
    return ""


def _instrument(
    columns: Mapping[str, str],
    items: Mapping[int, str],
    header: Sequence[str],
    instrument: str,
    file: Path,
) -> str:
    """As set, else by the name of the total, by the items that there are, by what lies beside."""
    if instrument in INSTRUMENTS:
        return instrument
    total = columns.get("total", "")
    by_total = instrument_of(total) if total else None
    if by_total and set(words(total)) & TEENS:
        raise LeadlineError(
            f"The column {listed([total], header)} seems to be of the PHQ-9 modified for teens, "
            "an instrument of its own.",
            remedy="Leadline estimates the PHQ-9 for adults. If it is that one, say so: "
            "--instrument phq9.",
            file=file,
            row=1,
        )
    if by_total is not None and by_total in INSTRUMENTS:
        return by_total
    by_items = [name for name in INSTRUMENTS
                if any(instrument_of(item) == name for item in items.values())]  # fmt: skip
    if len(by_items) == 1:
        return by_items[0]
    count = len(items)
    if items and set(items) == set(range(count)) and count in COUNTS:
        return COUNTS[count]
    if by_total == "phq" and not items and "instrument" not in columns:
        if any(usual_place(name, EDAIC) is not None for name in header):
            return "phq8"
        raise LeadlineError(
            f"The column {listed([total], header)} does not say which PHQ it is.",
            remedy="Say so: --instrument phq9 (nine items, 0-27) or --instrument phq8 (0-24).",
            file=file,
            row=1,
        )
    return "phq9"
