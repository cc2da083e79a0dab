"""A simulated cohort from settings to disk, with its truth beside it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.artefact import MANIFEST, TRUTH, manifest_of, read_manifest
from leadline.cohort.folds import FOLDS_FILE
from leadline.cohort.lock_record import RECORD, append_event, read_history, side_facts
from leadline.cohort.store import Cohort, read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.simulate.config import SimulateConfig
from leadline.simulate.leaks import add_leaks
from leadline.simulate.ratings import teacher_table
from leadline.simulate.truth import latent_table, phq9_truth, template_table, timestamps, turn_days
from leadline.simulate.wording import DRAWS, assistant_texts, user_texts
from leadline.simulate.world import AGES, GENDERS, World, draw_world, person_ids

Progress = Callable[[str], None]


def simulate_cohort(
    out: Path | str,
    config: SimulateConfig,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Cohort:
    """Simulate a cohort and write it, whole or not at all.

    Args:
        out: the new cohort directory; `truth/` in it holds what no estimator may read.
        config: the settings.
        overwrite: replace a cohort that is there. The record of its locked test goes on where
            the people are the same (equal settings), and is counted where they are others.
        progress: called with a short name of each stage as it starts.

    Returns:
        The cohort as read back; its manifest says ``simulated: true``.

    >>> from leadline import simulate_cohort
    >>> from leadline.simulate.config import preset
    >>> cohort = simulate_cohort("simulated", preset("small", people=60, gold=40, locked=8))
    >>> cohort.people.height, cohort.simulated
    (60, True)
    """
    out = Path(out)
    before = _lock_before(out)
    tell = progress or (lambda _stage: None)
    tell("severity and turns")
    world = draw_world(config)
    tell("words")
    turns = turn_table(world)
    turns, leaks = add_leaks(turns, world.answers[0, :, -1], person_ids(config), config)
    phq9_all = phq9_truth(world)
    tell("teacher")
    teacher = teacher_table(world)
    phq9 = phq9_all.filter(pl.col("given")).drop("given", "repeat", "slot", "theta")

    truth = {
        "phq9_all": phq9_all,
        "latent": latent_table(world),
        "templates": template_table(world),
        "teacher": teacher,
        "leak": leaks,
    }
    tell("writing")
    people, settings = people_table(world), dataclasses.asdict(config)

    def extra(scratch: Path) -> None:
        _write_truth(truth, scratch)
        _write_record(scratch, people, set(phq9["person_id"]), settings, before)

    return write_cohort(
        out,
        turns,
        phq9,
        people,
        command="simulate",
        settings=settings,
        inputs={},
        overwrite=overwrite,
        extra=extra,
        simulated=True,
        locked_test=_lock_entry(people, config),
        note="Simulated people. Nothing measured on them is a claim about patients.",
        completion=dict(
            zip(("intercept", "per_severity", "per_session"), world.completion, strict=True)
        ),
    )


def without_limit(out: Path, config: SimulateConfig) -> Cohort | None:
    """A cohort of these very settings that has no limit yet, as a killed command leaves it."""
    manifest = manifest_of(out)
    if manifest is None or manifest.get("command") != "simulate" or "limit" in manifest:
        return None
    cohort = read_cohort(out)
    is_same = _same_settings(cohort.manifest["settings"], dataclasses.asdict(config))
    return cohort if is_same else None


def _lock_before(out: Path) -> tuple[Path, dict[str, Any]] | None:
    """The simulated cohort that will be replaced, and its manifest; None without one.

    Raises:
        LeadlineError: people who are not simulated are locked there.
    """
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out, "cohort")
    if manifest["counts"].get("locked") and not manifest.get("simulated", False):
        raise LeadlineError(
            "A cohort with a locked test of people who are not simulated lies here.",
            remedy="Choose another --out, or drop that test first: leadline lock COHORT --drop.",
            file=out,
        )
    return out, manifest


def _lock_entry(people: pl.DataFrame, config: SimulateConfig) -> dict[str, Any] | None:
    locked = int(people["locked"].sum())
    if not locked:
        return None
    share = locked / people.height
    return {"share": share, "seed": config.seed, "by": "simulation", "people": locked,
            "record": RECORD}  # fmt: skip


def _write_record(
    scratch: Path,
    people: pl.DataFrame,
    answered: set[str],
    settings: Mapping[str, Any],
    before: tuple[Path, dict[str, Any]] | None,
) -> None:
    """Begin the record of the locked test, or go on with that of the same people."""
    if before is not None:
        out, manifest = before
        if (out / RECORD).is_file() and _same_settings(manifest["settings"], settings):
            for name in (RECORD, FOLDS_FILE):
                if (out / name).is_file():
                    shutil.copyfile(out / name, scratch / name)
            return
        history = read_history(out, manifest)
        openings = len(history.openings()) + history.earlier_openings()
        if openings:
            append_event(scratch, "replaced", openings=openings)
    locked = set(people.filter("locked")["person_id"])
    if locked:
        append_event(scratch, "locked", by="simulation", **side_facts(locked, answered - locked))


def _same_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the manifest of a cohort names the settings `now`, as JSON writes them."""
    return json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)


def _write_truth(tables: Mapping[str, pl.DataFrame], scratch: Path) -> None:
    folder = scratch / TRUTH
    folder.mkdir()
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet", compression="zstd")


def turn_table(world: World) -> pl.DataFrame:
    """`turns` of the cohort: an assistant message before every user turn."""
    talk, people = world.talk, world.people
    shape = (*talk.form.shape, DRAWS)
    draws = world.rng["text"].integers(0, 2**31, size=(shape[0], shape[1] + 1, DRAWS))
    user = user_texts(world.bank, talk, world.locked, people.style, draws)
    reply_draws = world.rng["text"].integers(0, 2**31, size=shape)
    replies = assistant_texts(talk, people.other_app, reply_draws)
    has_turn = talk.session >= 0
    person = np.nonzero(has_turn)[0]
    session = talk.session[has_turn]
    days = turn_days(world)[has_turn]
    starts = np.r_[True, (np.diff(session) != 0) | (np.diff(person) != 0)]
    within = np.arange(person.size) - np.maximum.accumulate(
        np.where(starts, np.arange(person.size), 0)
    )
    count = 2 * person.size
    texts = [""] * count
    texts[0::2], texts[1::2] = replies, user
    ids = pl.Series(person_ids(world.config)).gather(person.repeat(2))
    turn_numbers = np.stack([within * 2, within * 2 + 1], axis=1).ravel()
    times = np.stack([days - 20.0 / 86400.0, days], axis=1).ravel()
    return pl.DataFrame(
        {
            "person_id": ids,
            "conversation_id": ids + "-s" + pl.Series(session.repeat(2)).cast(pl.String),
            "turn": pl.Series(turn_numbers).cast(pl.Int32),
            "role": pl.Series(["assistant", "user"] * person.size),
            "text": pl.Series(texts),
            "time": timestamps(times),
        }
    )


def people_table(world: World) -> pl.DataFrame:
    """`people` of the cohort: ids, who is locked, and the groups that a source would know."""
    people = world.people
    return pl.DataFrame(
        {
            "person_id": person_ids(world.config),
            "locked": world.locked,
            "age_band": [AGES[index] for index in people.age],
            "gender": [GENDERS[index] for index in people.gender],
            "app": ["B" if from_other_app else "A" for from_other_app in people.other_app],
        }
    )
