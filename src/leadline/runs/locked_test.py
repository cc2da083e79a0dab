"""Opening the locked test of a run: on request alone, and never without a trace.

Training neither estimates nor scores the locked people, so nothing on the disk of a run says how
it does on them. Opening estimates them with the run's own models, its steps and its baselines,
and writes down in the cohort that this run was held against this test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.artefact import read_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.lock import known_history
from leadline.cohort.lock_record import LockHistory, append_event
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.further import LOCKED, write_further
from leadline.evaluate.run_results import PREDICTIONS_FILE, own_table
from leadline.output import changing
from leadline.runs.checkpoint import (
    LEDGER_FILE,
    load_ensemble,
    load_step,
    run_identity,
    run_training,
)
from leadline.runs.forecast import read_states
from leadline.runs.labelled import Labelled, cohort_hashes, labelled_people
from leadline.runs.ledger import read_ledger
from leadline.runs.predictions import locked_baselines, whole_predictions
from leadline.runs.profiles import keep_profiles, profiles_of_split

Fused = Callable[[Path, Cohort, Labelled, WindowConfig, pl.DataFrame], pl.DataFrame | None]
"""What else a run estimates locked people with, from its own estimates of them."""


def open_locked_test(
    run: Path | str, cohort: Path | str, *, home: Path | None = None, fused: Fused | None = None
) -> dict[str, Any]:
    """Estimate the locked people of a run, record the opening, and keep the predictions.

    The opening is recorded in the cohort before a prediction is written, so that none is looked
    at uncounted. Each call counts.

    Args:
        run: a finished run.
        cohort: the cohort that it was trained on, on disk and unchanged since.
        home: where readers and states are kept.
        fused: adds predictions of a self-training run with its teacher.

    Returns:
        What `LockHistory.summary` says of the test now.

    Raises:
        LeadlineError: nobody is locked, the cohort is another one than the run's, a reader is
            absent, or the record cannot be written.
    """
    run, folder = Path(run), Path(cohort)
    manifest, people = read_manifest(run, "run"), read_cohort(folder)
    _check_own(people, manifest, run)
    history = known_history(people)
    tables, profiles = _locked_predictions(run, people, manifest, home, fused)
    table = pl.concat(tables)
    with changing(folder):
        event = append_event(
            folder,
            "opened",
            run=run.resolve().name,
            model=run_identity(run),
            people=table["person_id"].n_unique(),
            labels=table["label"].n_unique(),
        )
    summary = LockHistory((*history.events, event)).summary()
    write_further(run, LOCKED, table, summary)
    keep_profiles(run, LOCKED, profiles)
    return summary


def _check_own(cohort: Cohort, manifest: dict[str, Any], run: Path) -> None:
    """Refuse a cohort that is not the one that the run was trained on, or has no locked test."""
    hashes, inputs = cohort_hashes(cohort), manifest.get("inputs") or {}
    changed = [name for name, digest in hashes.items() if inputs.get(name, digest) != digest]
    if changed:
        raise LeadlineError(
            f"The run {run.name} was not trained on this cohort as it is now: "
            f"{', '.join(sorted(changed))} is another.",
            remedy="Give the cohort as it was; for PHQ-9s that came later leave out "
            "--open-locked-test; else train again.",
            file=cohort.path,
        )
    if not cohort.locked_ids:
        raise LeadlineError(
            "Nobody is locked in this cohort: there is no test to open.",
            remedy="Lock people before training: leadline lock COHORT.",
            file=cohort.path,
        )


def _locked_predictions(
    run: Path,
    cohort: Cohort,
    manifest: dict[str, Any],
    home: Path | None,
    fused: Fused | None,
) -> tuple[list[pl.DataFrame], pl.DataFrame | None]:
    """Predictions of the locked people by every model of the run, and its profiles of them.

    Predictions are in the order of the run's table; profiles are None where it gives none.
    """
    predictions = own_table(run, PREDICTIONS_FILE)
    old = predictions.filter(pl.col("split") == LOCKED)
    if old.height:
        return [old], None  # the training of an earlier version made them
    train, window = run_training(run)
    ensemble, _ = load_ensemble(run, home=home)
    labelled = labelled_people(cohort, train, window)
    rows = np.flatnonzero(labelled.readings["locked"].to_numpy())
    if not len(rows):
        raise LeadlineError(
            "No locked person has a PHQ-9 with text in the window of this run.",
            remedy="Train with the window that people were locked with.",
            file=cohort.path,
        )
    states = read_states(ensemble.source, labelled.people)
    of_run = whole_predictions(ensemble, labelled, states, rows)
    tables = []
    for name, folder in (manifest.get("steps") or {}).items():
        if folder is None:  # the run's own models under the name of the round that was kept
            tables.append(of_run.with_columns(pl.lit(name).alias("model")))
            continue
        step = load_step(run, folder, ensemble, home=home)
        tables.append(whole_predictions(step, labelled, states, rows, name))
    tables.append(of_run)
    further = fused(run, cohort, labelled, window, of_run) if fused is not None else None
    tables += [] if further is None else [further]
    if train.baselines:
        left_out = read_ledger(own_table(run, LEDGER_FILE))
        names = set(predictions["model"])
        every = locked_baselines(labelled, train, left_out, states, home)
        tables += [table for table in every if table["model"][0] in names]
    return tables, profiles_of_split(run, (ensemble, states), labelled, cohort, of_run)
