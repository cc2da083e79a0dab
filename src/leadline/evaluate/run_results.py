"""Evaluation of a run on disk: reads its artefacts, writes one more.

`results.json` lies beside the manifest of the run and is made from what the run wrote, and from the
predictions that it got since (`further`): nothing is trained or predicted here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import (
    bind,
    check_files,
    files_of,
    pending_name,
    read_json,
    read_manifest,
    sha256,
    write_json,
)
from leadline.cohort.lock_record import read_history
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.config import MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.further import (
    LOCKED,
    OPENED_BY_TRAINING,
    PROSPECTIVE,
    openings_text,
    prospective_text,
    read_further,
    update_facts,
)
from leadline.evaluate.limit import LIMIT_FILE, limit_labels
from leadline.evaluate.results import RESULTS_FORMAT, evaluate_predictions
from leadline.evaluate.sample import check_numbers
from leadline.output import changing
from leadline.profiles.scores import check_profiles, score_profiles
from leadline.tables import ESTIMATES, PREDICTIONS, check_columns, check_estimates

PREDICTIONS_FILE = "predictions.parquet"

ESTIMATES_FILE = "estimates.parquet"

RESULTS_FILE = "results.json"

NUMBERS = {name: PREDICTIONS[name] for name in ("mean", "median", "distribution")}


def evaluate_run(
    run: Path | str, cohort: Path | None = None, settings: EvaluateConfig | None = None
) -> dict[str, Any]:
    """Evaluate the predictions of a run, write RUN/results.json and return its content.

    Args:
        run: a finished run directory.
        cohort: the cohort it was made from; if given, the gold totals and the locked people
            are checked against it, and the openings of its locked test are counted anew.
        settings: resamples, cuts, reliabilities.

    Raises:
        LeadlineError: the run is unfinished, its predictions are missing, changed or unfit
            (`sample.check_predictions`), or they disagree with the cohort.

    >>> from leadline import evaluate_run
    >>> results = evaluate_run("run")
    >>> results["lead"]["split"]
    'out-of-fold'
    """
    run = Path(run)
    with changing(run):
        return _evaluate(run, cohort, settings)


def _evaluate(run: Path, cohort: Path | None, settings: EvaluateConfig | None) -> dict[str, Any]:
    facts = read_manifest(run, "run")
    if cohort is not None:
        trained_on = read_cohort(cohort)
        facts = _with_cohort(facts, trained_on, all_predictions(run)[0])
        history = read_history(cohort, trained_on.manifest)
        if history.openings():
            update_facts(run, LOCKED, history.summary())
    predictions, files, further = all_predictions(run)
    manifest = read_manifest(run, "run")
    if manifest.get("labels_seen") == 0 and not predictions.height:
        raise LeadlineError(
            "This run has seen no label, so there is nothing yet to hold it against.",
            remedy="Give people with PHQ-9s: leadline evaluate RUN --cohort COHORT",
            file=run,
        )
    facts = dict(manifest)
    limit = own_table(run, LIMIT_FILE) if (run / LIMIT_FILE).is_file() else None
    if cohort is not None:
        read = read_cohort(cohort)
        facts = _with_cohort(facts, read, predictions)
        limit = limit_labels(read) if limit is None else limit
    results = evaluate_predictions(predictions, settings, manifest=facts, limit=limit)
    results["files"] = files
    results["further"] = further
    results["profile"] = _profile_scores(run, predictions, results["shown_model"], files)
    write_json(run / pending_name(RESULTS_FILE), results)
    bind(run, manifest, [RESULTS_FILE])
    return results


def _profile_scores(
    run: Path, predictions: pl.DataFrame, model: str, files: Mapping[str, str]
) -> dict[str, Any] | None:
    """Scores of the profiles of the items; None of a run that has none.

    Profiles of a split go with predictions of it: those of a test that is not read do not count.
    """
    names = [name.replace("predictions", "profiles") for name in files]
    tables = []
    for name in names:
        if (run / name).is_file():
            table = own_table(run, name)
            check_profiles(table, run / name)
            tables.append(table)
    return score_profiles(tables, predictions, MIN_PEOPLE, model) if tables else None


def all_predictions(run: Path) -> tuple[pl.DataFrame, dict[str, str], dict[str, Any]]:
    """Every prediction of a run, the SHA-256 by file, and what is said of each further split.

    Locked people of an opened test are those of the opening. Where training itself estimated
    them, as in runs of earlier versions, and nothing was opened since, that is said.
    """
    table = own_table(run, PREDICTIONS_FILE)
    check_columns(table, NUMBERS, run / PREDICTIONS_FILE, RESTORE)
    check_numbers(table, run / PREDICTIONS_FILE)
    files = {PREDICTIONS_FILE: sha256(run / PREDICTIONS_FILE)}
    origins: dict[str, Any] = {}
    if "split" in table.columns and (table["split"] == LOCKED).any():
        origins[LOCKED] = {"text": OPENED_BY_TRAINING}
    for split, (later, facts, digest) in read_further(run).items():
        if split == LOCKED:
            table = table.filter(pl.col("split") != LOCKED)
        check_numbers(later, run / f"predictions-{split}.parquet")
        table = pl.concat([table, later])
        files[f"predictions-{split}.parquet"] = digest
        text = openings_text(facts) if split == LOCKED else prospective_text(facts)
        origins[split] = {"text": text, **facts}
    return table, files, origins


def read_results(run: Path) -> dict[str, Any]:
    """RUN/results.json, checked to be the one that was written and of this version's format.

    Raises:
        LeadlineError: the run was not evaluated, or its results are not those that were written.
    """
    path = run / RESULTS_FILE
    remedy = f"Run: leadline evaluate {run}"
    if not path.is_file():
        raise LeadlineError("This run was not evaluated yet.", remedy=remedy, file=path)
    check_own(run, RESULTS_FILE, remedy)
    return read_json(
        path,
        format=RESULTS_FORMAT,
        remedy=remedy,
        what="file of results",
        problem="The results are not valid JSON of Leadline.",
    )


def own_table(run: Path, name: str) -> pl.DataFrame:
    """A table of a run, held against its manifest; with a warning where that has no hash of it.

    Raises:
        LeadlineError: it is absent, damaged, or not the one that was written.
    """
    if (run / name).is_file():
        check_own(run, name, RESTORE)
    return read_table(run / name)


def own_estimates(run: Path) -> pl.DataFrame:
    """The running estimates of a run: its own, and all by its own model.

    Raises:
        LeadlineError: as `own_table`, or they are of another run.
    """
    table, file = own_table(run, ESTIMATES_FILE), run / ESTIMATES_FILE
    check_columns(table, ESTIMATES, file, "Score again with this version of Leadline.")
    check_estimates(table, file)
    model = run / "checkpoint" / "model.json"
    if model.is_file() and not (table["model_id"] == sha256(model)[:16]).all():
        raise LeadlineError("These are estimates of another run.", remedy=RESTORE, file=file)
    return table


RESTORE = "Restore the file from a copy, or train again."


def check_own(run: Path, name: str, remedy: str) -> None:
    """Hold a file of a run against its manifest; warn where the run is of before it had a hash.

    Raises:
        LeadlineError: it is not the one that was written.
    """
    manifest = read_manifest(run, "run")
    if name in files_of(manifest):
        check_files(run, manifest, [name], remedy=remedy)
        return
    warnings.warn(
        f"The run has no hash of {name}: whether it was changed cannot be told.",
        LeadlineWarning,
        stacklevel=2,
    )


def read_table(path: Path) -> pl.DataFrame:
    """A table of a run.

    Raises:
        LeadlineError: it is absent or damaged.
    """
    if not path.is_file():
        raise LeadlineError(
            "The run has no such table.",
            remedy="Train with --folds or with locked test people, so that there are "
            "estimates for people whom the model never saw.",
            file=path,
        )
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "This table of the run cannot be read.", remedy="Train again.", file=path
        ) from error


def _with_cohort(
    facts: Mapping[str, Any], cohort: Cohort, predictions: pl.DataFrame
) -> dict[str, Any]:
    """Facts of the run with what the cohort adds, after the gold labels were checked."""
    predictions = predictions.filter(pl.col("split") != PROSPECTIVE)
    gold = cohort.phq9.select("person_id", "total", "instrument").with_row_index("label")
    gold = gold.with_columns(pl.col("label").cast(pl.Int64))
    labels = predictions.select("label", "person_id", "total", "instrument").unique()
    strangers = labels.join(gold, on=labels.columns, how="anti", nulls_equal=True)
    if strangers.height:
        raise LeadlineError(
            f"{strangers.height} labels of the predictions are not gold labels of this cohort.",
            remedy="Give the cohort that the run was trained on; evaluate takes gold only.",
            file=cohort.path,
        )
    split = predictions.select("person_id", "split").unique()
    locks = split.join(cohort.people.select("person_id", "locked"), on="person_id")
    wrong = locks.filter(pl.col("locked") != (pl.col("split") == "locked"))
    if wrong.height:
        raise LeadlineError(
            f"{wrong.height} people are locked in the cohort and not in the run, or the reverse.",
            remedy="Train again: a locked person takes no part in training.",
            file=cohort.path,
        )
    cohort_facts = {key: cohort.manifest[key] for key in ("limit",) if cohort.manifest.get(key)}
    simulated = bool(facts.get("simulated", False)) or cohort.simulated
    return {
        **cohort_facts,
        **{k: v for k, v in facts.items() if v is not None},
        "simulated": simulated,
    }
