"""Draws of a simulated teacher."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.simulate.phrase_bank import BARE, CLOSE, OPEN
from leadline.simulate.ratings import heard_frames, read_words, teacher_table
from leadline.simulate.world import World, draw_world


def test_teacher_draws_are_as_reliable_and_as_biased_as_set(tmp_path: Path) -> None:
    config = preset("small", people=1500, teacher_r=0.64)
    simulate_cohort(tmp_path / "c", config)
    draws = pl.read_parquet(tmp_path / "c" / "truth" / "teacher.parquet")
    truth = pl.read_parquet(tmp_path / "c" / "truth" / "phq9_all.parquet")
    truth = truth.filter(pl.col("repeat") == 0).select("person_id", "time", true="total")
    both = draws.join(truth, on=["person_id", "time"])
    assert both.height == truth.height * config.teacher_draws
    assert np.corrcoef(both["total"], both["true"])[0, 1] == pytest.approx(0.64, abs=0.05)
    slope = np.cov(both["total"], both["true"])[0, 1] / both["true"].var()
    assert slope == pytest.approx(0.6, abs=0.06)
    assert (both["total"] - both["true"]).mean() == pytest.approx(2.5, abs=0.5)
    assert (both.select(ITEM_COLUMNS).to_numpy().sum(axis=1) == both["total"].to_numpy()).all()
    error = both.with_columns(error=pl.col("total") - pl.col("true"))
    draw = [error.filter(pl.col("draw") == k)["error"].to_numpy() for k in range(2)]
    assert np.corrcoef(*draw)[0, 1] > 0.5


def scrambled(world: World) -> World:
    """The same words by people of whom everything else is another's."""
    order = np.random.default_rng(1).permutation(world.gold.size)
    talk, severity = world.talk, world.severity
    unsaid = {name: getattr(talk, name)[order] for name in ("form", "topic", "level", "frame")}
    return replace(
        world,
        talk=replace(talk, **unsaid),
        severity=replace(severity, session=severity.session[order], label=severity.label[order]),
        answers=world.answers[:, order],
        people=replace(
            world.people, items=world.people.items[order], trait=world.people.trait[order]
        ),
    )


def test_the_teacher_reads_the_words_and_nothing_that_is_true_of_the_people() -> None:
    world = draw_world(preset("paper", people=300, gold=150, locked=40))
    read, other = (read_words(one, np.random.default_rng(0)) for one in (world, scrambled(world)))
    for name in ("total", "levels", "turns"):
        np.testing.assert_array_equal(getattr(read, name), getattr(other, name))


@pytest.mark.parametrize("teacher_r", [0.6, 0.76])
def test_draws_say_nothing_of_severity_beyond_what_was_read(teacher_r: float) -> None:
    """Given the words, a draw is noise: the true severity is not blended in."""
    world = draw_world(preset("paper", people=2500, gold=1100, locked=300, teacher_r=teacher_r))
    read = read_words(world, copy.deepcopy(world.rng["teacher"]))  # the very numbers it draws
    has = world.schedule.has_label
    known = [read.total[has], np.log(read.turns[has]), np.ones(has.sum())]
    known.append(np.array([0.5, -0.5, 0.0])[world.people.gender[np.nonzero(has)[0]]])
    draws = teacher_table(world).filter(pl.col("draw") == 0)["total"].to_numpy()

    def unexplained(values: np.ndarray) -> np.ndarray:
        columns = np.stack(known, axis=1)
        return values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]

    r = np.corrcoef(unexplained(draws), unexplained(world.severity.label[has]))[0, 1]
    assert abs(r) < 3 / np.sqrt(has.sum())


def test_a_teacher_better_than_the_words_is_refused_with_what_they_allow(tmp_path: Path) -> None:
    config = preset("small", people=600, gold=300, locked=100)
    with pytest.raises(LeadlineError, match=r"reaches 0\.\d\d at most") as caught:
        simulate_cohort(tmp_path / "c", replace(config, teacher_r=0.95))
    assert not (tmp_path / "c").exists()
    reachable = float(re.search(r"--teacher-r (0\.\d+) or less", str(caught.value)).group(1))
    assert 0.7 < reachable < 0.86, "the best possible predictor reaches about .86"
    draws = teacher_table(draw_world(replace(config, teacher_r=reachable)))
    truth = draw_world(config)
    total = truth.answers[0][truth.schedule.has_label].sum(axis=1)
    first = draws.filter(pl.col("draw") == 0)["total"]
    assert np.corrcoef(first, total)[0, 1] == pytest.approx(reachable, abs=0.05)


def test_a_frame_is_heard_from_its_opening_until_it_is_closed_or_the_talk_is_over() -> None:
    world = draw_world(preset("paper", people=40, gold=20, locked=5))
    form = {kind: np.flatnonzero(world.bank.form == kind)[0] for kind in (BARE, OPEN, CLOSE)}
    said = [BARE, OPEN, BARE, BARE, CLOSE, BARE, OPEN, BARE, BARE]
    template = np.array([[form[kind] for kind in said]])
    session = np.array([[0, 0, 0, 0, 0, 0, 0, 0, 1]])
    heard = heard_frames(world.bank, template, session, world.config)[0]
    assert heard[[0, 4, 5, 8]].tolist() == [0, 0, 0, 0]
    assert heard[1] == heard[6] == 1
    assert 1 > heard[2] > heard[3] > 0.7, "it may have ended without a word"
