"""Predictions that a run got after its training: of its locked test, and of PHQ-9s that came later.

They lie beside the table that training wrote, with their hashes and with what is known of how
they came about, and are evaluated with it. In words: `set_title` and `openings_text`.
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
    replacing,
    sha256,
    write_json,
)
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.output import changing

LOCKED, PROSPECTIVE, OUT_OF_FOLD = "locked", "prospective", "out-of-fold"

FURTHER = "further.json"

FURTHER_FORMAT = 1

AGAIN = (
    f"Restore the file from a copy; or remove {FURTHER} and evaluate once more with the cohort and "
    "--open-locked-test, or with later PHQ-9s."
)

UNBOUND = (
    f"The run has no hash of {FURTHER}: whether it was changed, and with it what is said of how "
    "often a test was opened, cannot be told."
)

TITLES = {
    LOCKED: "Locked test people",
    PROSPECTIVE: "Prospective: PHQ-9s that came after the training data",
    OUT_OF_FOLD: "Cross-validation by person",
}

SHORT_TITLES = {LOCKED: "locked test", PROSPECTIVE: "prospective", OUT_OF_FOLD: "cross-validation"}

OPENED_BY_TRAINING = (
    "The locked test of this run was opened by its training, as earlier versions did in every "
    "training: how often this test was looked at before is not known."
)


def write_further(run: Path, split: str, table: pl.DataFrame, facts: Mapping[str, Any]) -> None:
    """Keep the predictions of one split in a run, in place of those of before.

    Raises:
        LeadlineError: what the run holds of another split is not as it was written.
    """
    name = f"predictions-{split}.parquet"
    with changing(run):
        manifest = read_manifest(run, "run")
        content = _read(run) if (run / FURTHER).is_file() else {}
        with replacing(run / pending_name(name)) as scratch:
            table.write_parquet(scratch, compression="zstd")
        digest = sha256(run / pending_name(name))
        content[split] = {"file": name, "sha256": digest, "facts": dict(facts)}
        write_json(run / pending_name(FURTHER), {**content, "format": FURTHER_FORMAT})
        bind(run, manifest, [name, FURTHER])


def update_facts(run: Path, split: str, facts: Mapping[str, Any]) -> None:
    """Say anew what is known of the predictions of a split; nothing where there are none."""
    with changing(run):
        manifest, content = read_manifest(run, "run"), _read(run)
        if split in content and content[split]["facts"] != facts:
            content[split]["facts"] = dict(facts)
            write_json(run / pending_name(FURTHER), content)
            bind(run, manifest, [FURTHER])


def read_further(run: Path) -> dict[str, tuple[pl.DataFrame, dict[str, Any], str]]:
    """By split the predictions, what is known of them, and their SHA-256; empty without any.

    Raises:
        LeadlineError: a file is absent or not the one that was written.
    """
    out = {}
    content = _read(run)
    for split in (LOCKED, PROSPECTIVE):
        entry = content.get(split)
        if entry is None:
            continue
        file = run / f"predictions-{split}.parquet"
        if not file.is_file() or sha256(file) != entry["sha256"]:
            raise LeadlineError(
                "These predictions are absent, or not those that were written (their SHA-256 "
                "differs).",
                remedy=AGAIN,
                file=file,
            )
        out[split] = (pl.read_parquet(file), entry["facts"], entry["sha256"])
    return out


def _read(run: Path) -> dict[str, Any]:
    path, manifest = run / FURTHER, read_manifest(run, "run")
    if FURTHER in files_of(manifest):
        check_files(run, manifest, [FURTHER], remedy=AGAIN)
    elif not path.is_file():
        return {}
    else:
        warnings.warn(UNBOUND, LeadlineWarning, stacklevel=2)
    return read_json(path, format=FURTHER_FORMAT, remedy=AGAIN)


def set_title(split: str) -> str:
    """The heading of a set in the report."""
    return TITLES[split]


def short_title(split: str) -> str:
    """The name of a set within a line."""
    return SHORT_TITLES[split]


def openings_text(facts: Mapping[str, Any]) -> str:
    """How often the locked test has been opened, by which runs, and what was there before it.

    Args:
        facts: what `cohort.lock_record.LockHistory.summary` says.
    """
    openings = facts["openings"]
    runs = {opening["model"]: opening["run"] for opening in openings}
    counts = {model: sum(opening["model"] == model for opening in openings) for model in runs}
    names = ", ".join(
        f"{name} ({model[:8]}" + (f", {counts[model]} times)" if counts[model] > 1 else ")")
        for model, name in runs.items()
    )
    often = "once" if len(openings) == 1 else f"{len(openings)} times"
    text = f"This locked test has been opened {often}, by {names}, last on {_last(openings)}."
    if len(runs) > 1:
        text += " Whoever chose among these runs by it has used it up: the best of them flatters."
    if facts["dropped_before"]:
        count = facts["dropped_before"]
        text += (
            f" It is not the first: {count} locked test{'s' * (count > 1)} of this cohort "
            f"{'were' if count > 1 else 'was'} dropped before it."
        )
    if facts["earlier_openings"]:
        text += f" Earlier ones were opened {facts['earlier_openings']} times."
    return text


def _last(openings: list[Mapping[str, Any]]) -> str:
    return str(openings[-1]["when"])[:10]


def prospective_text(facts: Mapping[str, Any]) -> str:
    """Which PHQ-9s the prospective set holds, and which it leaves out.

    Args:
        facts: as `runs.prospective` gives them.
    """
    if facts["after"] is None:
        text = (
            f"PHQ-9s of {facts['people']} people; this run had seen no label when it estimated "
            "them. Each estimate is as of the PHQ-9, from what had been said by then."
        )
    else:
        text = _after_training(facts)
    left_out = [
        f"{facts[key]} {what}"
        for key, what in (
            ("not_later", "of new people that are not later"),
            ("undated", "without a date"),
            ("locked", "of locked test people"),
        )
        if facts[key]
    ]
    return text + (f" Left out: {', '.join(left_out)}." if left_out else "")


def _after_training(facts: Mapping[str, Any]) -> str:
    return (
        f"PHQ-9s given after {facts['after'][:10]}, when this run's training data ended, up to "
        f"{facts['until'][:10]}: {facts['known_people']} people who were trained on, each "
        "estimated by the models that never saw them, and "
        f"{facts['new_people']} new people, estimated by all. Each estimate is as of the PHQ-9, "
        "from what had been said by then."
    )
