"""What pseudolabels added: the rows of a self-training run's ablation, in words and numbers.

A run of `leadline selftrain` has its steps as models, each trained on the same gold and
predicted for the same people. Here they are put in order beside the model trained on gold
only, with the paired differences that `results` has worked out, and with what was decided of
each round. Nothing is computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leadline.evaluate.further import PROSPECTIVE

ROUNDS_HEAD = "gold only, head of the rounds"
RAW, TEACHER = "raw teacher", "label model, teacher alone"
TEACHER_ALONE, FUSED = "teacher alone, recalibrated", "fused"

ROUND, ENSEMBLE, TRUE = "round ", "ensemble of ", "true labels"

ENSEMBLE_SIZES = (1, 3, 5)
"""Members of the ensembles that the scheme ``paper`` is shown with."""

MEANINGS = {
    ROUNDS_HEAD: "Also on PHQ-9s and on nothing else, with the head and the calibration that the "
    "rounds use. A round has to beat this row as well.",
    RAW: "Also on the teacher's mean rating of people without a PHQ-9, taken at its word as if "
    "they had answered one.",
    TEACHER: "Also on the teacher's ratings after its bias and its scale were taken out, each "
    "counted for as much as it was found to be worth.",
    TEACHER_ALONE: "The teacher's rating of the same person with its bias and its scale taken out, "
    "without the model; where it rated nothing, the model. What the row below gains on this one "
    "is what the model adds to the teacher.",
    FUSED: "The model of this run together with the teacher's rating of the same person. It "
    "needs a rating of everybody who is scored, not a further model.",
}


def rounds_view(
    selftraining: Mapping[str, Any],
    sets: Sequence[Mapping[str, Any]],
    reference: str,
    shown_model: str,
) -> dict[str, Any]:
    """The ablation and the decisions of a self-training run, for `results.json`.

    Args:
        selftraining: the manifest's entry: `rounds` with their figures, `kept`, `teachers`.
        sets: the sets of the results.
        reference: the model trained on gold only.
        shown_model: the model that the run is used with.

    Returns:
        ``rows``, one a model: ``model``, ``meaning``, ``sets`` (split, instrument, the scores
        ``mae`` and ``pearson``, and ``difference``, the paired one in MAE from `reference`);
        ``rounds`` and ``kept`` as recorded.
    """
    meanings = _meanings(selftraining, reference, shown_model)
    present = {name for set_results in sets for name in set_results["models"]}
    return {
        "reference": reference,
        "kept": selftraining["kept"],
        "rounds": list(selftraining["rounds"]),
        "rows": [
            {
                "model": name,
                "meaning": text,
                "sets": [_cells(set_results, name) for set_results in sets],
            }
            for name, text in meanings.items()
            if name in present
        ],
    }


def ablation_sets(sets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The sets that every step was estimated on; later PHQ-9s are estimated by the run alone."""
    return [set_results for set_results in sets if set_results["split"] != PROSPECTIVE]


def canary_words(rounds: Sequence[Mapping[str, Any]]) -> str:
    """What the canary of a run can say: its power, or that its silence means nothing.

    Empty for a run without a canary, and for one of a version that did not work its power out.
    """
    canary: Mapping[str, Any]
    canary = next((entry["canary"] for entry in rounds if entry.get("canary")), {})
    if "power" not in canary:
        return ""
    noticed = f"{canary['people']:.0f} people were told wrong PHQ-9s, and {canary['power']:.0%}"
    if canary["can_tell"]:
        return f"{noticed} of full leaks would be noticed so."
    share = canary.get("enough_share")
    remedy = (
        f"--canary {share:g} would be enough" if share else "no share of these people is enough"
    )
    return (
        f"The canary can say nothing here: {noticed} of full leaks would be noticed so, where 80% "
        f"is the least that means anything; {remedy}. Its silence is no evidence; the ancestry "
        "ledger is."
    )


def _meanings(selftraining: Mapping[str, Any], reference: str, shown_model: str) -> dict[str, str]:
    """What each model was trained on, in the order of the table."""
    kept_round = selftraining["kept"]
    both = "teacher and model together" if selftraining.get("teachers") else "the model alone"
    out = {
        reference: "Trained on the PHQ-9s that people gave, and on nothing else.",
        ROUNDS_HEAD: MEANINGS[ROUNDS_HEAD],
        RAW: MEANINGS[RAW],
        TEACHER: MEANINGS[TEACHER],
    }
    for entry in selftraining["rounds"][1:]:
        number = entry["round"]
        maker = f"; the model is that of round {number - 1}" if number > 1 else ""
        out[f"{ROUND}{number}"] = (
            f"Also on labels that {both} gave people without a PHQ-9, corrected and weighted in "
            f"the same way{maker}."
        )
    if selftraining.get("scheme"):  # of an adapted reader
        out[TRUE] = "Also on the true totals of simulated people without a PHQ-9: the most to gain."
        for size in ENSEMBLE_SIZES:
            out[f"{ENSEMBLE}{size}"] = f"{size} of the models of the round that was kept, not all."
    if shown_model != reference:
        same = f"round {kept_round}" if kept_round else reference
        out[shown_model] = f"What this run scores people with: the same as {same}."
    return out | {name: MEANINGS[name] for name in (TEACHER_ALONE, FUSED)}


def _cells(set_results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Scores of a model in a set, None where it has no predictions there."""
    model = set_results["models"].get(name)
    gaps = [c for c in set_results["comparisons"] if c["model"] == name and c["metric"] == "mae"]
    return {
        "split": set_results["split"],
        "instrument": set_results["instrument"],
        "mae": model["scores"]["mae"] if model else None,
        "pearson": model["scores"]["pearson"] if model else None,
        "difference": gaps[0] if gaps else None,
    }


def steps(results: Mapping[str, Any]) -> set[str]:
    """Models that are steps on the way, neither the reference nor the one that is shown."""
    selftraining = results["selftraining"]
    if not selftraining:
        return set()
    return {row["model"] for row in selftraining["rows"]} - {
        results["reference_model"],
        results["shown_model"],
    }


def verdict(entry: Mapping[str, Any]) -> str:
    """What was decided of a round, with the reason."""
    if entry["round"] == 0:
        return "the start"
    if entry["kept"]:
        return "kept"
    tried = "mae" in entry
    return f"{'not kept' if tried else 'not tried'}: {'; '.join(entry['reasons'])}"
