"""The simulated cohort: what is on disk, what is true of it, and that it can be made again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from leadline.cohort.lock import known_history, lock_cohort
from leadline.cohort.lock_record import append_event
from leadline.cohort.store import Cohort, read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset


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


def test_locked_people_use_only_held_out_templates_and_others_none(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", preset("small", held_out=0.3))
    templates = pl.read_parquet(tmp_path / "c" / "truth" / "templates.parquet")
    both = templates.join(cohort.people.select("person_id", "locked"), on="person_id")
    assert (both["held_out"] == both["locked"]).all()


def test_the_other_app_has_its_own_assistant_and_topics(tmp_path: Path) -> None:
    config = preset("small", shift_share=0.5)
    cohort = simulate_cohort(tmp_path / "c", config)
    assert set(cohort.people["app"]) == {"A", "B"}
    both = cohort.turns.join(cohort.people.select("person_id", "app"), on="person_id")
    other = both.filter(pl.col("text").str.contains("Logged it"))
    assert set(other["app"]) == {"B"}


@pytest.mark.parametrize(("gold", "locked"), [(0, 0), (12, 0), (6, 6)])
def test_small_counts_are_kept_exactly(gold: int, locked: int, tmp_path: Path) -> None:
    cohort = simulate_cohort(
        tmp_path / "c", preset("small", people=12, gold=gold, locked=locked, leak_share=1.0)
    )
    assert cohort.phq9["person_id"].n_unique() == gold + locked
    assert cohort.people["locked"].sum() == locked


FEW = preset("small", people=30, gold=20, locked=5, user_turns=8.0)


def test_the_same_people_simulated_again_keep_the_record_of_their_test(tmp_path: Path) -> None:
    cohort = simulate_cohort(tmp_path / "c", FEW)
    inside, outside = known_history(cohort).sides()
    assert inside == cohort.locked_ids
    assert len(outside) == 20
    append_event(tmp_path / "c", "opened", run="run", model="m")
    again = simulate_cohort(tmp_path / "c", FEW, overwrite=True)
    assert len(known_history(again).openings()) == 1
    other = simulate_cohort(tmp_path / "c", replace(FEW, seed=5), overwrite=True)
    history = known_history(other)
    assert (len(history.openings()), history.earlier_openings()) == (0, 1)
    assert history.sides()[0] == other.locked_ids


def test_people_who_are_not_simulated_are_never_replaced_with_their_test(tmp_path: Path) -> None:
    made = simulate_cohort(tmp_path / "made", FEW)
    people = made.people.with_columns(pl.lit(False).alias("locked"))
    write_cohort(
        tmp_path / "c", made.turns, made.phq9, people, command="import", settings={}, inputs={}
    )
    lock_cohort(tmp_path / "c", share=0.2, seed=0, by="severity")
    locked = read_cohort(tmp_path / "c").locked_ids
    with pytest.raises(LeadlineError, match="who are not simulated lies here"):
        simulate_cohort(tmp_path / "c", FEW, overwrite=True)
    assert read_cohort(tmp_path / "c").locked_ids == locked
