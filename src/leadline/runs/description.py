"""What a checkpoint says of its models, checked before anything is made of it.

`model.json` and the arrays beside it are bound by hashes, which say that a file is the one that was
written, not that whoever wrote it meant well or wrote all of it. So numbers have to be finite and
in range, names those of files inside the folder, and arrays have to fit together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import polars as pl

from leadline.errors import LeadlineError
from leadline.heads.calibration import NUMBERS, WIDTH_LEVELS
from leadline.phq9.items import TOTALS

DAMAGED = "This file of the run is absent, or not as training wrote it."

REMEDY = "Restore the run from a copy, or train again with this version of Leadline."

RUN_FILES = (
    "predictions.parquet",
    "estimates.parquet",
    "ledger.parquet",
    "checkpoint/model.json",
)
"""What every run holds when it is finished."""

MOST_MEMBERS = 10_000

Entry = Mapping[str, Any]


def damaged(path: Path, why: str = "") -> LeadlineError:
    """The error for a file of a run that is not as training wrote it."""
    problem = f"{DAMAGED[:-1]}: {why}." if why else DAMAGED
    return LeadlineError(problem, remedy=REMEDY, file=path)


def checked_members(description: Entry, file: Path) -> list[dict[str, Any]]:
    """The entries of the models in a checkpoint's description.

    Raises:
        LeadlineError: one is not as training writes it.
    """
    members = description.get("members")
    if not isinstance(members, list) or not 0 < len(members) <= MOST_MEMBERS:
        raise damaged(file, "it names no models")
    train = description.get("train")
    folds = train.get("folds") if isinstance(train, dict) else None
    if not _is_count(folds):
        raise damaged(file, "it does not say how many folds there were")
    places = set()
    for number, entry in enumerate(members):
        why = _wrong_member(entry, folds)
        if not why and (entry["repeat"], entry["fold"]) in places:
            why = "it is there twice"
        if why:
            raise damaged(file, f"model {number}: {why}")
        places.add((entry["repeat"], entry["fold"]))
    return [dict(entry) for entry in members]


def _wrong_member(entry: object, folds: int) -> str:
    """What is wrong with the entry of a model; empty if nothing is."""
    if not isinstance(entry, dict):
        return "it is no entry"
    repeat, fold = entry.get("repeat"), entry.get("fold")
    if not _is_count(repeat) or not _is_count(fold) or fold >= folds:
        return "its repeat or fold is out of range"
    if entry.get("file") != f"repeat-{repeat}-fold-{fold}":
        return "its file is not named after it"
    if re.fullmatch("[0-9a-f]{64}", str(entry.get("sha256"))) is None:
        return "it has no hash"
    if why := _wrong_calibration(entry.get("calibration")):
        return why
    kind = _KINDS.get(str(entry.get("kind")))
    return kind(entry) if kind else "it is of no kind that this version knows"


def _wrong_calibration(calibration: object) -> str:
    if not isinstance(calibration, dict):
        return "it has no calibration"
    numbers = [calibration.get(name) for name in NUMBERS]
    if not all(_is_number(number) for number in numbers):
        return "a number of its calibration is absent or not finite"
    if not 0 <= calibration["centre"] < TOTALS or calibration["widen"] <= 0:
        return "its calibration is out of range"
    if calibration["half_words"] < 0 or calibration["few_words"] < 0:
        return "its calibration is out of range"
    widths = calibration.get("widths")
    if not isinstance(widths, list) or len(widths) != len(WIDTH_LEVELS):
        return "the widths of its intervals are absent"
    if not all(_is_number(width) and 0 <= width <= 1 for width in widths):
        return "the widths of its intervals are out of range"
    return ""


def _wrong_frozen(entry: Entry) -> str:
    candidate, parts = entry.get("candidate"), entry.get("parts")
    if not isinstance(candidate, dict) or not isinstance(candidate.get("head"), str):
        return "it has no head"
    if not isinstance(candidate.get("apart"), bool):
        return "it does not say how it sees the views"
    share = candidate.get("lexical", 0.0)
    if not _is_number(share) or not 0 <= share <= 1:
        return "the weight of words is out of range"
    if not isinstance(parts, list) or not parts:
        return "it has no parts"
    for part in parts:
        views = part.get("views") if isinstance(part, dict) else None
        if not isinstance(views, list) or not all(isinstance(view, str) for view in views):
            return "a part has no views"
        if not isinstance(part.get("settings"), dict):
            return "a part has no settings"
        named = part["settings"].get("views", views)
        if not isinstance(named, list) or not all(name in views for name in named):
            return "a part sees a view that it does not have"
        settings = part["settings"].values()
        if not all(math.isfinite(x) for x in settings if isinstance(x, (int, float))):
            return "a number of a part is not finite"
    return ""


def _wrong_adapted(entry: Entry) -> str:
    flags = (entry.get("scalar"), entry.get("keeps_form", False))
    return "" if all(isinstance(flag, bool) for flag in flags) else "it has no form"


_KINDS: dict[str, Callable[[Entry], str]] = {"frozen": _wrong_frozen, "adapted": _wrong_adapted}


def check_ledger(
    table: pl.DataFrame, members: list[dict[str, Any]], folds: int, file: Path
) -> None:
    """Raise unless a ledger names a fold for each person and draw that there can be.

    Raises:
        LeadlineError: `ledger.parquet` is not as training writes it.
    """
    repeats = {entry["repeat"] for entry in members}
    columns = {"person_id", "repeat", "fold"}
    if not columns <= set(table.columns):
        raise damaged(file, "a column is absent")
    places = table.select("repeat", "fold").unique()
    for repeat, fold in places.iter_rows():
        is_drawn = repeat in repeats or fold == -1  # -1 is of the locked
        if not is_drawn or fold is None or not -1 <= fold < folds:
            raise damaged(file, "a repeat or fold is out of range")


def _is_count(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**6


def _is_number(number: Any) -> bool:
    is_real = isinstance(number, (int, float)) and not isinstance(number, bool)
    return is_real and math.isfinite(number)
