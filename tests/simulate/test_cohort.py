"""The simulated cohort: what is on disk, what is true of it, and that it can be made again."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import leadline
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import PRESETS, SimulateConfig, preset
from leadline.simulate.truth import phq9_truth
from leadline.simulate.world import World, draw_world


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A cohort of the preset that tests use."""
    return simulate_cohort(tmp_path_factory.mktemp("simulate") / "cohort", preset("small"))


@pytest.fixture(scope="module")
def world() -> World:
    """A world large enough for its moments to be checked."""
    return draw_world(preset("paper", people=4000, gold=1500, locked=500, user_turns=9.0))


def test_counts_are_as_asked_and_locked_people_have_labels(small: Cohort) -> None:
    config = preset("small")
    assert small.people.height == config.people
    assert small.people["locked"].sum() == config.locked
    with_label = set(small.phq9["person_id"])
    assert len(with_label) == config.gold + config.locked
    assert set(small.people.filter("locked")["person_id"]) <= with_label
    assert small.simulated


def test_phq9_items_sum_to_the_total_and_come_after_the_last_word_before_them(
    small: Cohort,
) -> None:
    items = small.phq9.select(ITEM_COLUMNS).to_numpy()
    assert ((items >= 0) & (items <= 3)).all()
    assert (items.sum(axis=1) == small.phq9["total"].to_numpy()).all()
    said = small.turns.group_by("person_id").agg(pl.col("time").max().alias("last"))
    final = small.phq9.group_by("person_id").agg(pl.col("time").max()).join(said, on="person_id")
    assert (final["time"] > final["last"]).all()


def test_turns_alternate_in_order_of_time_within_each_conversation(small: Cohort) -> None:
    for _, turns in small.turns.group_by("conversation_id", maintain_order=True):
        assert turns["turn"].to_list() == list(range(turns.height))
        assert turns["role"].to_list() == ["assistant", "user"] * (turns.height // 2)
        assert turns["time"].is_sorted()
    for _, turns in small.turns.group_by("person_id", maintain_order=True):
        assert turns["time"].is_sorted()


def test_no_slot_is_left_unfilled_and_no_text_is_empty(small: Cohort) -> None:
    assert not small.turns["text"].str.contains(r"[{}]").any()
    assert (small.turns["text"].str.strip_chars().str.len_chars() > 0).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    small: Cohort, tmp_path: Path
) -> None:
    simulate_cohort(tmp_path / "again", preset("small"))
    simulate_cohort(tmp_path / "other", preset("small", seed=1))
    assert small.path is not None
    assert _digest(small.path) == _digest(tmp_path / "again")
    ours, theirs = _digest(small.path), _digest(tmp_path / "other")
    assert all(ours[name] != theirs[name] for name in ours if name != "truth/leak.parquet")


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_truth_holds_everyone_and_agrees_with_what_was_given(small: Cohort) -> None:
    assert small.path is not None
    truth = pl.read_parquet(small.path / "truth" / "phq9_all.parquet")
    assert truth.filter(pl.col("slot") == 1, pl.col("repeat") == 0).height == small.people.height
    given = truth.filter("given").select("person_id", "time", "total")
    assert given.equals(small.phq9.select("person_id", "time", "total"))
    templates = pl.read_parquet(small.path / "truth" / "templates.parquet")
    assert templates.height == small.turns.filter(pl.col("role") == "user").height


def test_locked_people_use_only_held_out_templates_and_others_none(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", preset("small", held_out=0.3))
    templates = pl.read_parquet(tmp_path / "c" / "truth" / "templates.parquet")
    both = templates.join(cohort.people.select("person_id", "locked"), on="person_id")
    assert (both["held_out"] == both["locked"]).all()


def test_the_number_of_user_turns_is_about_what_was_asked() -> None:
    for wanted in (9.0, 33.0):
        world = draw_world(preset("small", people=1500, user_turns=wanted))
        assert world.schedule.total_turns.mean() == pytest.approx(wanted, rel=0.08)


def test_the_population_is_like_the_one_asked_for(world: World) -> None:
    total = world.answers[:, :, -1].sum(axis=2)
    assert 10 <= total[0].mean() <= 12
    assert 6.3 <= total[0].std() <= 7.6
    assert 0.84 <= np.corrcoef(total)[0, 1] <= 0.92


def test_completion_is_not_at_random(world: World) -> None:
    theta, completes = world.severity.label[:, -1], world.gold | world.locked
    assert theta[completes].mean() < theta[~completes].mean() - 0.1
    assert world.schedule.sessions[completes].mean() > world.schedule.sessions[~completes].mean()
    truth = phq9_truth(world)
    assert truth.filter("given")["repeat"].max() == 0


def test_asked_in_chat_people_say_their_answers_and_are_listed(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", preset("small", leak_share=0.3))
    leaks = pl.read_parquet(tmp_path / "c" / "truth" / "leak.parquet")
    assert 0.15 < leaks.height / cohort.people.height < 0.45
    words = ["not at all", "several days", "more than half the days", "nearly every day"]
    truth = pl.read_parquet(tmp_path / "c" / "truth" / "phq9_all.parquet")
    last = truth.filter(pl.col("slot") == 1, pl.col("repeat") == 0)
    for person in leaks["person_id"].head(5):
        said = cohort.turns.filter(pl.col("person_id") == person, pl.col("role") == "user")
        scored = [words.index(text) for text in said["text"].to_list()[-9:]]
        assert sum(scored) == last.filter(pl.col("person_id") == person)["total"].item()


def test_without_the_leak_arm_nobody_was_asked(small: Cohort) -> None:
    assert small.path is not None
    assert pl.read_parquet(small.path / "truth" / "leak.parquet").height == 0
    assert not small.turns["text"].str.contains("bothered by little interest").any()


def test_the_other_app_has_its_own_assistant_and_topics(tmp_path: Path) -> None:
    config = preset("small", shift_share=0.5)
    cohort = simulate_cohort(tmp_path / "c", config)
    assert set(cohort.people["app"]) == {"A", "B"}
    both = cohort.turns.join(cohort.people.select("person_id", "app"), on="person_id")
    other = both.filter(pl.col("text").str.contains("Logged it"))
    assert set(other["app"]) == {"B"}


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


def test_no_room_that_estimates_names_the_truth() -> None:
    source = Path(leadline.__file__).parent
    for room in ("cohort", "readers", "heads", "finetune", "runs", "scoring", "running", "phq9"):
        for path in (source / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    parts = Path(node.value.strip()).parts if "\n" not in node.value else ()
                    assert "truth" not in parts, f"{path.name} names truth/"


def test_a_cohort_reads_the_same_with_its_truth_removed(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", preset("small", people=40, gold=20, locked=10))
    for path in (tmp_path / "c" / "truth").iterdir():
        path.unlink()
    (tmp_path / "c" / "truth").rmdir()
    assert read_cohort(tmp_path / "c").turns.equals(cohort.turns)


def test_every_setting_says_what_it_is_and_presets_are_valid() -> None:
    for item in dataclasses.fields(SimulateConfig):
        assert item.metadata["help"].endswith(".")
        assert item.type in ("int", "float", "str", "bool")
    assert set(PRESETS) == {"paper", "small", "easy"}
    assert {preset(name).people for name in PRESETS} == {7125, 240, 1200}


@pytest.mark.parametrize(
    "wrong",
    [
        {"gold": 9000},
        {"life_share": 1.2},
        {"teacher_r": 0.0},
        {"user_turns": 1.0},
        {"user_turns": 60.0},
        {"people": 3, "gold": 1, "locked": 1},
        {"ou_days": 0.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LeadlineError):
        preset("paper", **wrong)


@pytest.mark.parametrize(("gold", "locked"), [(0, 0), (12, 0), (6, 6)])
def test_small_counts_are_kept_exactly(gold: int, locked: int, tmp_path: Path) -> None:
    cohort = simulate_cohort(
        tmp_path / "c", preset("small", people=12, gold=gold, locked=locked, leak_share=1.0)
    )
    assert cohort.phq9["person_id"].n_unique() == gold + locked
    assert cohort.people["locked"].sum() == locked


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LeadlineError, match="paper, small, easy"):
        preset("hard")
