"""The truth beside a simulated cohort, and who may name it."""

from __future__ import annotations

import ast
from pathlib import Path

import polars as pl

import leadline
from leadline.cohort.store import Cohort, read_cohort
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset


def test_truth_holds_everyone_and_agrees_with_what_was_given(small: Cohort) -> None:
    assert small.path is not None
    truth = pl.read_parquet(small.path / "truth" / "phq9_all.parquet")
    assert truth.filter(pl.col("slot") == 1, pl.col("repeat") == 0).height == small.people.height
    given = truth.filter("given").select("person_id", "time", "total")
    assert given.equals(small.phq9.select("person_id", "time", "total"))
    templates = pl.read_parquet(small.path / "truth" / "templates.parquet")
    assert templates.height == small.turns.filter(pl.col("role") == "user").height


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
