"""The manifest of a run, which `leadline train` and `leadline selftrain` write last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import sha256, write_manifest
from leadline.cohort.limit import LIMIT_FILE, limit_labels
from leadline.cohort.store import Cohort
from leadline.cohort.windows import undated_counts
from leadline.runs.config import TrainConfig

RUN_FILES = (
    "predictions.parquet",
    "estimates.parquet",
    "ledger.parquet",
    "checkpoint/model.json",
)
"""What every run holds when it is finished."""


def write_run_manifest(
    run: Path,
    cohort: Cohort,
    settings: Mapping[str, Any],
    training: Mapping[str, str],
    files: Sequence[str] = (),
    *,
    command: str,
    **entries: Any,
) -> dict[str, Any]:
    """Write the manifest that completes a run and return it.

    Args:
        run: the run directory; its files are there.
        cohort: the cohort that it was trained on.
        settings: its settings as plain values, table by table; ``inputs`` among them holds the
            SHA-256 of each file of the cohort.
        training: what the report says of the training, in its order.
        files: files of this kind of run beside `RUN_FILES`.
        command: the verb that made the run.
        entries: further entries of this kind of run.
    """
    best = limit_labels(cohort)
    if best is not None:
        best.write_parquet(run / LIMIT_FILE)
        files = (*files, LIMIT_FILE)
    return write_manifest(
        run,
        kind="run",
        command=command,
        settings=settings,
        inputs=settings["inputs"],
        files={name: sha256(run / name) for name in (*RUN_FILES, *files)},
        simulated=cohort.simulated,
        training={
            **training,
            **_undated_facts(cohort, settings),
            **_cutoff_facts(cohort),
            **_questionnaire_facts(entries.get("questionnaire")),
        },
        limit=cohort.manifest.get("limit"),
        **entries,
    )


def _undated_facts(cohort: Cohort, settings: Mapping[str, Any]) -> dict[str, str]:
    """What the report says of text and PHQ-9s that cannot be placed in time; empty without any."""
    counts = undated_counts(cohort)
    if not any(counts.values()):
        return {}
    fate = "taken as said before (--undated)" if settings["window"]["undated"] else "left out"
    count = f"{counts['turns']:,} turns and {counts['labels']:,} PHQ-9s"
    return {"without a time beside dated ones": f"{count}, {fate}"}


def _cutoff_facts(cohort: Cohort) -> dict[str, str]:
    """When a test locked by time begins, and how many PHQ-9s outside it train nobody; or empty."""
    if cohort.cutoff is None:
        return {}
    outside = ~pl.col("person_id").is_in(list(cohort.locked_ids))
    late = cohort.phq9.filter(outside & (pl.col("time") >= cohort.cutoff)).height
    fate = f"{late:,} PHQ-9s of other people from then on are not used"
    return {"locked test begins": f"{cohort.cutoff:%Y-%m-%d %H:%M} UTC; {fate}"}


def _questionnaire_facts(record: Mapping[str, Any] | None) -> dict[str, str]:
    """What the report says of questionnaires in the chat: how many, and what was done."""
    if record is None:
        return {}
    if not record["turns"]:
        languages = f"{len(record['languages'])} languages"
        limits = f"{languages} looked for; questions and answers in free words are not seen"
        return {"questionnaire in the chat": f"none found ({limits})"}
    fate = {"masked": "blanked before reading", "kept": "read as any other text"}[record["arm"]]
    return {"questionnaire in the chat": f"{record['words']}; {fate}"}


def model_facts(config: TrainConfig) -> dict[str, str]:
    """What the report says of the models of any run."""
    return {
        "reader": config.reader,
        "adaptation": config.adapt,
        "models in the ensemble": str(config.folds * config.repeats),
        "folds": f"{config.folds} by person, {config.repeats} draw(s), seed {config.seed}",
    }
