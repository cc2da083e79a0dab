"""The report of a run on disk: reads results and artefacts, writes `report.html` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.artefact import (
    bind,
    check_files,
    files_of,
    pending_name,
    read_json,
    read_manifest,
)
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import (
    ESTIMATES_FILE,
    RESULTS_FILE,
    all_predictions,
    own_estimates,
    own_table,
    read_results,
)
from leadline.output import changing
from leadline.profiles.scores import check_profiles
from leadline.report.report import render_report

REPORT_FILE, PROFILES_FILE = "report.html", "profiles.parquet"

CHECKPOINTS, CURVE_FILE, CURVE_FORMAT = "checkpoint", "curve.json", 1


def report_run(run: Path | str, *, examples: bool = False) -> Path:
    """Write RUN/report.html from results.json, predictions and estimates; return its path.

    Args:
        run: a run that `evaluate_run` has evaluated.
        examples: show courses of real people too; those of simulated people are shown anyway.

    Raises:
        LeadlineError: the run was not evaluated, or evaluated by another version's format.

    >>> from leadline import report_run
    >>> report_run("run").name
    'report.html'
    """
    run = Path(run)
    with changing(run):
        return _report(run, examples=examples)


def _report(run: Path, *, examples: bool) -> Path:
    manifest = read_manifest(run, "run")
    results = read_results(run)
    predictions, files, _ = all_predictions(run)
    if (results.get("files") or {}) != files:
        raise LeadlineError(
            "The results were made from other predictions than those of the run.",
            remedy=f"Run: leadline evaluate {run}",
            file=run / RESULTS_FILE,
        )
    estimates, profiles = None, None
    if (run / ESTIMATES_FILE).is_file() and (examples or results["simulated"]):
        estimates = own_estimates(run)
    if (run / PROFILES_FILE).is_file() and (examples or results["simulated"]):
        profiles = own_table(run, PROFILES_FILE)
        check_profiles(profiles, run / PROFILES_FILE)
    render_report(
        results,
        predictions,
        estimates=estimates,
        profiles=profiles,
        curves=_read_curves(run, manifest),
        out=run / pending_name(REPORT_FILE),
    )
    bind(run, manifest, [REPORT_FILE])
    return run / REPORT_FILE


def _read_curves(run: Path, manifest: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The courses of the trainings of a run's adapted models, if it has any, by step."""
    remedy = "Remove the file to have a report without it, or train again."
    steps = manifest.get("steps") or {"": None}
    bound = files_of(manifest)

    def read(file: Path) -> dict[str, Any]:
        name = file.relative_to(run).as_posix()
        if name in bound:  # runs of before have no hash of it
            check_files(run, manifest, [name], remedy=remedy)
        return read_json(file, format=CURVE_FORMAT, remedy=remedy, what="course of a training")

    curves = {
        name: [read(file) for file in sorted(run.glob(f"{folder or CHECKPOINTS}/**/{CURVE_FILE}"))]
        for name, folder in steps.items()
    }
    return {name: courses for name, courses in curves.items() if courses}
