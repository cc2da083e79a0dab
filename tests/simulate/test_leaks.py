"""The questionnaire asked in the chat."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from leadline.cohort.store import Cohort
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset


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
