"""The manifest of a run, which `leadline train` and `leadline selftrain` write last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import MANIFEST, read_manifest, sha256, write_manifest
from leadline.cohort.languages import UNKNOWN, language_facts, language_names
from leadline.cohort.lock_record import read_history
from leadline.cohort.store import Cohort
from leadline.cohort.windows import undated_counts
from leadline.evaluate.limit import LIMIT_FILE, limit_labels
from leadline.runs.checkpoint import CHECKPOINT, STEPS
from leadline.runs.config import TrainConfig
from leadline.runs.description import RUN_FILES
from leadline.runs.profiles import ITEMS_FILE, PROFILES_FILE

FURTHER_FILES = ("config.toml", "fusion.json", ITEMS_FILE, PROFILES_FILE)
"""What a run is bound to where it is there."""


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
    files = (*files, *(name for name in FURTHER_FILES if (run / name).is_file()))
    files = (*files, *_courses(run))
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
            **_lock_facts(cohort),
            **_undated_facts(cohort, settings),
            **_cutoff_facts(cohort),
            **_questionnaire_facts(entries.get("questionnaire")),
            **_language_facts(cohort, training.get("reader", "")),
        },
        limit=cohort.manifest.get("limit"),
        seen_until=_seen_until(cohort),
        **entries,
    )


def saw_no_label(run: Path) -> bool:
    """Whether a finished run has seen no label, as `leadline prior` makes it."""
    return bool(read_manifest(run, "run").get("labels_seen") == 0)


def _courses(run: Path) -> list[str]:
    """Of fine-tuned models what `model.json` does not bind: their courses and their manifests."""
    inside = (
        file
        for folder in (CHECKPOINT, STEPS)  # other folders are of work that goes when it is done
        for name in ("curve.json", MANIFEST)
        for file in (run / folder).glob(f"**/{name}")
        if file.is_file()
    )
    return sorted(file.relative_to(run).as_posix() for file in inside)


def _seen_until(cohort: Cohort) -> str | None:
    """The last moment of anything that the cohort could train on; None if nothing is dated."""
    last = [t for t in (cohort.turns["time"].max(), cohort.phq9["time"].max()) if t is not None]
    times = [time for time in last if isinstance(time, datetime)]
    if cohort.cutoff is not None:
        times = [min(time, cohort.cutoff) for time in times]
    return max(times).isoformat() if times else None


def _lock_facts(cohort: Cohort) -> dict[str, str]:
    """How often the locked test had been opened before this run was trained; empty without one."""
    if cohort.path is None or not cohort.locked_ids:
        return {}
    history = read_history(cohort.path, cohort.manifest)
    openings, dropped = len(history.openings()), history.dropped()
    text = f"had been opened {openings} times for other runs" if openings else "was not opened yet"
    if dropped:
        text += f"; {dropped} earlier locked tests were dropped"
    return {"locked test when this run was trained": text}


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


def _language_facts(cohort: Cohort, readers: str) -> dict[str, str]:
    """What the report says of the languages, and of a reader that was not made for them."""
    facts = language_facts(cohort.turns, readers)
    if set(facts["people"]) <= {UNKNOWN}:
        return {}
    lines = {"languages": language_names(facts["people"])}
    return lines | ({"to know of them": " ".join(facts["warnings"])} if facts["warnings"] else {})


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
    start = {"started from": "a run of leadline prior"} if config.prior else {}
    return {
        **start,
        "reader": config.reader,
        "adaptation": config.adapt,
        "models in the ensemble": str(config.folds * config.repeats),
        "folds": f"{config.folds} by person, {config.repeats} draw(s), seed {config.seed}",
    }
