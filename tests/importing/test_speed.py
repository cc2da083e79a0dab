"""The script that measures the import makes the tables it says and runs on small ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.speed import importing
from tests.support import ROOT
from tests.support.imports import import_cohort

from leadline.sources.config import ImportConfig


def test_shuffled_rows_come_back_in_the_same_order(tmp_path: Path) -> None:
    places = []
    for shuffled in (False, True):
        source = tmp_path / f"{shuffled}.parquet"
        importing.make_table(source, 2_000, shuffled)
        cohort = import_cohort(source, ImportConfig(), tmp_path / f"{shuffled}")
        assert cohort.turns["turn"].to_list() == list(range(20)) * 100
        assert cohort.turns["role"].to_list() == ["user", "assistant"] * 1_000
        columns = ("person_id", "conversation_id", "turn", "time")
        places.append(sorted(cohort.turns.select(columns).rows()))
    assert places[0] == places[1]


def test_the_bench_prints_its_figures_as_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.speed.importing", "--turns", "2000"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    figures = json.loads(done.stdout)
    assert figures["turns"] == 2_000
    assert figures["turns_a_second"] > 0
    assert 0 < figures["peak_gb"] < 3
    assert list(tmp_path.iterdir()) == []
