"""A run held against PHQ-9s that came after it: prospective evaluation.

Only labels later than everything in the run's training data count. Each is estimated as of its
time, as the deployed run would have: a person who was trained on by the models that left the
person out, a new person by all. Locked test people have no part in it; theirs is another set.
A run that has seen no label (`leadline prior`) is held against every PHQ-9, dated or not.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.arrays import Array, Ints
from leadline.artefact import read_manifest
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.further import PROSPECTIVE, write_further
from leadline.evaluate.run_results import ESTIMATES_FILE, PREDICTIONS_FILE, own_table
from leadline.heads.prior import latent_population
from leadline.phq9.distribution import Totals
from leadline.runs.baselines import predict_constant
from leadline.runs.checkpoint import LEDGER_FILE, load_ensemble, run_training
from leadline.runs.config import INTERVAL
from leadline.runs.forecast import read_states
from leadline.runs.labelled import Labelled, cohort_hashes, labelled_people
from leadline.runs.manifest import saw_no_label
from leadline.runs.predictions import NO_FOLD, prediction_table, whole_predictions
from leadline.runs.profiles import keep_profiles, profiles_of_split
from leadline.tables import PREDICTIONS

CONSTANT, LAST = "constant", "last PHQ-9"


def is_other_cohort(run: Path, cohort: Path) -> bool:
    """Whether `cohort` holds other turns or PHQ-9s than the run was trained on."""
    if saw_no_label(run):
        return True
    inputs = read_manifest(run, "run").get("inputs") or {}
    hashes = cohort_hashes(read_cohort(cohort))
    names = [name for name in ("turns.parquet", "phq9.parquet") if name in hashes]
    return any(inputs.get(name, hashes[name]) != hashes[name] for name in names)


def evaluate_later(
    run: Path | str, cohort: Path | str, *, home: Path | None = None
) -> dict[str, Any]:
    """Estimate the PHQ-9s of a newer cohort that came after the run's training data.

    The predictions are kept in the run, as the set ``prospective`` of its next evaluation, in
    place of those of before.

    Args:
        run: a finished run.
        cohort: a cohort with later PHQ-9s, of the same people, of others, or of both.
        home: where readers and states are kept.

    Returns:
        ``after`` and ``until``: between which moments the PHQ-9s lie; ``labels``, ``people``,
        of them ``known_people`` who were trained on and ``new_people``; and what is left out:
        PHQ-9s of new people that are ``not_later``, ``undated`` ones, those of people ``locked``
        in either cohort. These three count PHQ-9s with text in the window.

    Raises:
        LeadlineError: the training data has no dates, or no PHQ-9 of the cohort is later.
    """
    run, newer = Path(run), read_cohort(cohort)
    after = _seen_until(run)
    train, window = run_training(run)
    ledger = own_table(run, LEDGER_FILE)
    # A test locked by time keeps later PHQ-9s of others from training, not from this.
    manifest = {k: v for k, v in newer.manifest.items() if k != "locked_test"}
    labelled = labelled_people(replace(newer, manifest=manifest), train, window)
    rows, facts = _later_rows(labelled, newer, ledger, after)
    if not len(rows):
        raise LeadlineError(
            f"No PHQ-9 with text before it is later than {after:%Y-%m-%d %H:%M} UTC, when the "
            f"training data of {run.name} ended."
            if after
            else "No PHQ-9 of this cohort has text before it and is of somebody not locked.",
            remedy="Give the cohort that the run was trained on, or one with later PHQ-9s.",
            file=newer.path,
        )
    later = labelled.take(rows)
    ensemble, _ = load_ensemble(run, home=home)
    states = read_states(ensemble.source, later.people)
    every = np.arange(len(rows))
    of_run = whole_predictions(ensemble, later, states, every)
    table = pl.concat([of_run, *_comparators(run, newer, later, every)]).with_columns(
        pl.lit(PROSPECTIVE).alias("split")
    )
    write_further(run, PROSPECTIVE, table.select(list(PREDICTIONS)), facts)
    profiles = profiles_of_split(run, (ensemble, states), later, newer, of_run)
    keep_profiles(run, PROSPECTIVE, profiles)
    return facts


def _seen_until(run: Path) -> datetime | None:
    """The last moment of a run's training data; None of a run that has seen no label."""
    if saw_no_label(run):
        return None
    recorded = read_manifest(run, "run").get("seen_until")
    if recorded is not None:
        return datetime.fromisoformat(recorded)
    # Runs of earlier versions: the last PHQ-9 or turn in their tables.
    times = [own_table(run, name)["time"].max() for name in (PREDICTIONS_FILE, ESTIMATES_FILE)]
    dated = [time for time in times if isinstance(time, datetime)]
    if not dated:
        raise LeadlineError(
            "Nothing that this run was trained on has a date, so nothing can have come after it.",
            remedy="Import with times, and train again.",
            file=run,
        )
    return max(dated)


def _later_rows(
    labelled: Labelled, newer: Cohort, ledger: pl.DataFrame, after: datetime | None
) -> tuple[Ints, dict[str, Any]]:
    """Rows of the labels that are prospective, and the facts of `evaluate_later`."""
    locked = newer.locked_ids | set(ledger.filter(pl.col("fold") < 0)["person_id"])
    trained_on = set(ledger.filter(pl.col("fold") >= 0)["person_id"])
    table = labelled.readings.with_columns(
        pl.col("person_id").is_in(list(locked)).alias("locked"),
        pl.col("person_id").is_in(list(trained_on)).alias("known"),
        # Null without a date, unless no label was seen: then each is later than all that were.
        (pl.lit(True) if after is None else pl.col("time") > after).alias("later"),
    )
    open_labels = ~pl.col("locked")
    chosen = table.select(pl.arg_where(open_labels & pl.col("later"))).to_series()
    later = table[chosen.to_list()]
    until = later["time"].max()
    not_later = open_labels & ~pl.col("known") & ~pl.col("later")
    people = set(later["person_id"])
    facts = {
        "after": after.isoformat() if after else None,
        "until": until.isoformat() if isinstance(until, datetime) else None,
        "labels": later.height,
        "people": len(people),
        "known_people": len(people & trained_on),
        "new_people": len(people - trained_on),
        "not_later": table.filter(not_later).height,
        "undated": table.filter(open_labels & pl.col("later").is_null()).height,
        "locked": table.filter("locked").height,
        "cohort": cohort_hashes(newer),
    }
    return chosen.to_numpy().astype(np.int64), facts


def _comparators(run: Path, newer: Cohort, later: Labelled, rows: Ints) -> list[pl.DataFrame]:
    """What needs no text: the totals of the training people, and the person's last PHQ-9."""
    old = own_table(run, PREDICTIONS_FILE).filter(pl.col("split") == "out-of-fold")
    old = old.unique("label").sort("label")
    gold = old["total"].to_numpy().astype(np.float64)
    people = np.array(old["person_id"].to_list(), dtype=np.str_)
    mean, totals, width = _constant(run, gold, people, len(rows))
    folds = [NO_FOLD] * len(rows)
    constant = prediction_table(CONSTANT, later, rows, 0, folds, mean, totals, width)
    carried = _carried_forward(newer, later.readings)
    if not np.isfinite(carried).any():
        return [constant]
    carried = np.where(np.isfinite(carried), carried, mean)
    empty = pl.lit(None)
    return [
        constant,
        constant.with_columns(
            pl.lit(LAST).alias("model"),
            pl.Series("mean", carried),
            pl.Series("median", carried),
            *(
                empty.cast(PREDICTIONS[name]).alias(name)
                for name in ("distribution", "lower", "upper")
            ),
        ),
    ]


def _constant(
    run: Path, gold: Array, people: npt.NDArray[np.str_], count: int
) -> tuple[Array, Totals, float | Array]:
    """The same estimate for `count` PHQ-9s, from totals that were seen, or else were assumed."""
    if len(gold):
        estimates = predict_constant(gold, people, count)
        return estimates.mean, estimates.totals, estimates.width
    population = read_manifest(run, "run")["population"]
    centre, spread = latent_population(float(population["mean"]), float(population["sd"]))
    totals = Totals.normal(np.full(count, centre), np.full(count, spread))
    return totals.mean(), totals, INTERVAL


def _carried_forward(newer: Cohort, readings: pl.DataFrame) -> Array:
    """The last total that each person gave before each label, (R,); NaN without one."""
    answers = newer.phq9.filter(pl.col("total").is_not_null() & pl.col("time").is_not_null())
    answers = answers.select("person_id", "instrument", "time", pl.col("total").alias("last_total"))
    labels = readings.select("person_id", "instrument", "time").with_row_index("row")
    joined = labels.sort("time").join_asof(
        answers.sort("time"),
        on="time",
        by=["person_id", "instrument"],
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    last = joined.sort("row")["last_total"].cast(pl.Float64)
    return last.fill_null(float("nan")).to_numpy()
