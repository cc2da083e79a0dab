"""Which set leads the report, and its first sentence: does the model beat the simple baselines?

A locked test is the best evidence if it can say something: with `LEAD_PEOPLE` people and enough on
either side of the cut. Below that the cross-validation leads, which has seen more people, and the
locked test stands after it. If no set has enough people, the one with the most leads.

A model beats the simple baselines if its MAE is below that of every one of them, by the whole 95%
interval of the paired difference. As all of them have to be beaten, testing several needs no
correction (intersection-union test; Berger, Technometrics 1982;24:295).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leadline.evaluate.bootstrap import Scores
from leadline.evaluate.comparisons import difference
from leadline.evaluate.config import MIN_CLASS, EvaluateConfig
from leadline.evaluate.rounds import ENSEMBLE, FUSED, RAW, ROUND, ROUNDS_HEAD, TEACHER, TRUE
from leadline.evaluate.sample import Sample
from leadline.tables import MASKED_ARM

LEAD_PEOPLE = 50

RULE = (
    f"The locked test leads with {LEAD_PEOPLE} people or more, of them {MIN_CLASS} on either side "
    "of the cut; else the set with the most people."
)


def leading(sets: Sequence[Mapping[str, Any]]) -> int:
    """Which of the sets (entries of `results.json`) leads."""
    able = [
        index for index, entry in enumerate(sets) if entry["split"] == "locked" and can_lead(entry)
    ]
    if able:
        return able[0]
    return max(range(len(sets)), key=lambda index: (sets[index]["people"], -index))


def can_lead(entry: Mapping[str, Any]) -> bool:
    """Whether a set has the people that a locked test needs to lead."""
    gold = entry["gold"]
    sides = min(gold["people_at_cut"], gold["people_below_cut"])
    return bool(entry["people"] >= LEAD_PEOPLE and sides >= MIN_CLASS)


def leading_first(sets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sets, that which leads first and the others in their order."""
    first = leading(sets)
    return [sets[first], *(entry for index, entry in enumerate(sets) if index != first)]


def simple_baselines(names: Sequence[str], reference: str, shown_model: str) -> list[str]:
    """Models that are neither the run's own, nor a step to it, nor helped by a teacher."""
    steps = {reference, shown_model, RAW, TEACHER, FUSED, ROUNDS_HEAD, TRUE, MASKED_ARM}
    return [
        name
        for name in names
        if name not in steps and not name.startswith((ROUND, ENSEMBLE)) and "teacher" not in name
    ]


def verdict(
    sample: Sample,
    scores: tuple[Scores, Scores],
    names: tuple[str, str],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Whether the model beats the simple baselines on these people, and by how much.

    Args:
        sample: the gold labels.
        scores: every model's scores of the sample, and in the resamples.
        names: the reference model and the one that is shown.
        config: the cut.

    Returns:
        ``model``; ``beats`` (None where it cannot be is_told); ``against``, the baseline that the
        sentence names: one that is not beaten, if there is one, else the best; ``difference``, its
        MAE minus the model's, with the paired interval; and ``sentence``.
    """
    reference, shown_model = names
    model = shown_model if shown_model in sample.models else next(iter(sample.models))
    mae = float(scores[0][model]["mae"][0])
    baselines = simple_baselines(list(sample.models), reference, model)
    baselines.sort(key=lambda name: float(scores[0][name]["mae"][0]))
    gaps = {name: difference(sample, scores, (name, model), "mae", config) for name in baselines}
    is_told = all(gap["low"] is not None for gap in gaps.values()) and bool(gaps)
    unbeaten = [name for name, gap in gaps.items() if is_told and gap["low"] <= 0]
    against = next(iter([*unbeaten, *baselines]), None)
    gap = gaps[against] if against else None
    beats = not unbeaten if is_told else None
    return {
        "model": model,
        "beats": beats,
        "against": against,
        "difference": gap,
        "sentence": _sentence(sample.people, (model, mae), against, gap, beats),
    }


def _sentence(
    people: int,
    model: tuple[str, float],
    against: str | None,
    gap: Mapping[str, Any] | None,
    beats: bool | None,
) -> str:
    name, mae = model
    miss = f"misses the PHQ-9 by {mae:.2f} points on average"
    if gap is None:
        return f"On these {people:,} people {name} {miss}; no simple baseline stands beside it."
    size = (
        f"{abs(gap['value']):.2f} points {'less' if gap['value'] >= 0 else 'more'} than {against}"
    )
    if beats is None:
        return (
            f"These {people:,} people are too few to tell whether {name} beats the simple "
            f"baselines: it {miss}, {size}, and that may be chance."
        )
    within = f"95% interval of the paired difference {gap['low']:.2f} to {gap['high']:.2f}"
    if beats:
        return (
            f"On these {people:,} people {name} beats every simple baseline: it {miss}, {size}, "
            f"the best of them ({within})."
        )
    if gap["high"] < 0:
        worse = f"{name} is worse than {against}"
        return f"On these {people:,} people {worse}: it {miss}, {size} ({within})."
    return (
        f"On these {people:,} people it is not shown that {name} beats the simple baselines: it "
        f"{miss}, {size} ({within})."
    )
