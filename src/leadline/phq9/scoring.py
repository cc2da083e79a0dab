"""From answers to a total: missing items, proration, bands, PHQ-8, PHQ-2, the algorithm.

Method: up to two missing items are replaced by the mean of the answered ones; the rounded
total is used and the raw one kept. Item 9 (self-harm) is never imputed, so a PHQ-9 without
it has no total; the same answers may be scored as a PHQ-8. A reported total must agree with
the items beside it; one that is the sum of fewer items than there are is no total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline.errors import LeadlineError
from leadline.phq9.items import BANDS, ITEM_COUNTS, MAX_MISSING, MAX_TOTALS, SELF_HARM

ITEM_SLOTS = 9


@dataclass(frozen=True)
class Score:
    """One scored administration.

    Attributes:
        instrument: ``phq9``, ``phq8`` or ``phq2``.
        total: whole points, rounded if prorated; None where too many items are missing.
        raw_total: before rounding; equals `total` unless prorated.
        items: nine answers 0-3; None where not answered or not part of the instrument.
        prorated: whether missing items were replaced by the mean of the answered ones.
    """

    instrument: str
    total: float | None
    raw_total: float | None
    items: tuple[int | None, ...]
    prorated: bool


def score(
    items: Sequence[Any] = (),
    total: Any = None,
    instrument: str = "phq9",
) -> Score:
    """Score answers, a reported total, or both.

    Args:
        items: answers 0-3 in the order of the questionnaire; None or NaN where missing.
            Shorter than the instrument means that the rest is missing; answers beyond the
            instrument (item 9 of a PHQ-8) are not kept.
        total: the reported total, if there is one.
        instrument: ``phq9``, ``phq8`` or ``phq2``.

    Raises:
        LeadlineError: an answer outside 0-3, a total outside the range or not whole, or
            items that contradict the total.
    """
    count = _item_count(instrument)
    if len(items) > ITEM_SLOTS:
        raise LeadlineError(f"{len(items)} items.", remedy="Give at most nine items.")
    answers = tuple(check_item(value, number) for number, value in enumerate(items, 1))
    answers = (answers + (None,) * ITEM_SLOTS)[:count]
    reported = check_total(
        total, instrument, whole_only=None not in answers or not any_given(answers)
    )
    raw, prorated = _raw_total(answers, instrument)
    if reported is not None:
        raw, prorated = _agree(answers, reported, raw, prorated)
    return Score(
        instrument=instrument,
        total=None if raw is None else float(round_half_up(raw)),
        raw_total=raw,
        items=answers + (None,) * (ITEM_SLOTS - count),
        prorated=prorated,
    )


def check_item(value: Any, number: int) -> int | None:
    """An answer as 0-3, or None where it is missing (None or NaN).

    Raises:
        LeadlineError: any other value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_) or value not in (0, 1, 2, 3):
        raise LeadlineError(
            f"Item {number} is not one of 0, 1, 2, 3.",
            remedy="Correct the answer, or leave it empty if it was not given.",
        )
    return int(value)


def check_total(value: Any, instrument: str = "phq9", *, whole_only: bool = True) -> float | None:
    """A reported total within the range of its instrument, or None where it is missing.

    Raises:
        LeadlineError: not a number, out of range, or not whole where it must be.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    top = MAX_TOTALS[instrument]
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value <= top:
        raise LeadlineError(
            f"The total is not a number from 0 to {top}, the range of the {instrument}.",
            remedy="Correct the total, or leave it empty if there is none.",
        )
    if whole_only and float(value) != int(value):
        raise LeadlineError(
            "The total is not a whole number.",
            remedy="Give the rounded total, or the items so that it can be computed.",
        )
    return float(value)


def any_given(answers: Sequence[int | None]) -> bool:
    """Whether at least one item was answered."""
    return any(answer is not None for answer in answers)


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves up, as scoring manuals do."""
    return math.floor(value + 0.5)


def _item_count(instrument: str) -> int:
    if instrument not in ITEM_COUNTS:
        raise LeadlineError(
            "The instrument is not known.", remedy=f"Use one of: {', '.join(ITEM_COUNTS)}."
        )
    return ITEM_COUNTS[instrument]


def _raw_total(answers: Sequence[int | None], instrument: str) -> tuple[float | None, bool]:
    scores = [answer for answer in answers if answer is not None]
    missing = len(answers) - len(scores)
    if missing == 0:
        return float(sum(scores)), False
    no_self_harm = instrument == "phq9" and answers[SELF_HARM] is None
    if missing > MAX_MISSING[instrument] or no_self_harm:
        return None, False
    return sum(scores) * len(answers) / len(scores), True


def _agree(
    answers: Sequence[int | None], reported: float, raw: float | None, prorated: bool
) -> tuple[float | None, bool]:
    """Check a reported total against the items; return the raw total and whether prorated.

    A reported total that is the sum of the answered items, with others blank, took the blanks for
    zeros: the items count then, prorated where that is allowed.
    """
    scores = [answer for answer in answers if answer is not None]
    missing = len(answers) - len(scores)
    if scores and missing and reported == sum(scores):
        return raw, prorated  # a sum that leaves blank items out is no total of the questionnaire
    if prorated and raw is not None and reported in (raw, float(round_half_up(raw))):
        return raw, True
    if prorated and raw is not None and abs(reported - raw) < 0.01:
        return raw, True
    if reported != int(reported) or not sum(scores) <= reported <= sum(scores) + 3 * missing:
        raise LeadlineError(
            "The items and the total contradict each other.",
            remedy="Correct one of them, or give the items only.",
        )
    return reported, False


def band(total: float) -> str:
    """The severity band of a PHQ-9 or PHQ-8 total; fractions count by their rounded value."""
    return BANDS[int(band_index([total])[0])][0]


def band_index(totals: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Index into `BANDS` of each total, any shape; fractions by their half-up rounding."""
    values = np.floor(np.asarray(totals, dtype=np.float64) + 0.5)
    if values.size and not (np.all(values >= 0) and np.all(values <= MAX_TOTALS["phq9"])):
        raise LeadlineError("A total is outside 0-27.", remedy="Correct the total.")
    return np.searchsorted([low for _, low, _ in BANDS[1:]], values, side="right")


def phq8(items: Sequence[Any]) -> Score:
    """Score nine (or eight) answers as a PHQ-8, 0-24: item 9 is left out."""
    return score(items, instrument="phq8")


def phq2(items: Sequence[Any]) -> Score:
    """Score answers as a PHQ-2, 0-6: items 1 and 2 only, both needed."""
    return score(items, instrument="phq2")


def algorithm(items: Sequence[Any]) -> str | None:
    """The diagnostic algorithm of the PHQ-9: ``major``, ``other`` or ``none``.

    At least five items at 2 or more (item 9 counts at 1 or more), one of them item 1 or 2,
    is ``major``; two to four is ``other``. None where missing items could change the answer.
    A screening rule, not a diagnosis.
    """
    answers = [check_item(value, number) for number, value in enumerate(items, 1)]
    if len(answers) != ITEM_SLOTS:
        raise LeadlineError("The algorithm needs nine items.", remedy="Give all nine items.")
    low = _algorithm([0 if answer is None else answer for answer in answers])
    high = _algorithm([3 if answer is None else answer for answer in answers])
    return low if low == high else None


def _algorithm(answers: Sequence[int]) -> str:
    present = [answer >= (1 if place == SELF_HARM else 2) for place, answer in enumerate(answers)]
    if not (present[0] or present[1]) or sum(present) < 2:
        return "none"
    return "major" if sum(present) >= 5 else "other"
