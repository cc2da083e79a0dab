"""Verbs of monitoring that are sent SIGKILL at their renames and syncs, one after the other.

Whatever the instant, a store opens with its key and each of its tables is the old or the new; the
same command then ends as if nothing had happened, and nothing is left over.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from tests.support import ROOT
from tests.support.kills import calls_of, can_trace, kill_in_call
from tests.support.monitored import tiny_run

from leadline.errors import LeadlineError
from leadline.monitor.start import examine
from leadline.store.vault import KeyConfig

TIMELESS = ("last_night", "store")


@dataclass(frozen=True)
class Case:
    """A verb to be killed.

    Attributes:
        command: its words.
        store: the file that it makes or changes.
        done: exit code where the killed command had done its work already.
        often: one in so many of its calls is taken.
        again: tables to which the same command may have added once more.
        steps: tables to which each of its steps adds, so that any count between is whole.
    """

    command: tuple[str, ...]
    store: str = "full.sqlite"
    done: int = 0
    often: int = 1
    again: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


CASES = {
    "init": Case(("init", "--run", "run"), "new.sqlite"),
    "init again": Case(("init", "--run", "run"), "made.sqlite"),
    "token": Case(("token", "--name", "app", "--scope", "ingest"), again=("token", "actor")),
    "load": Case(("load", "cohort", "--consent", "simulated"), "made.sqlite"),
    "score": Case(
        ("score", "--states", "states", "--once"),
        "loaded.sqlite",
        steps=("estimate", "belief", "person_now", "lane_entry", "hook_call"),
    ),
    "nightly": Case(("nightly", "--date", "2026-03-01"), steps=("night",)),
    "rescore": Case(("rescore", "--run", "other"), often=2, steps=("estimate",)),
    "forget": Case(("forget", "{person}", "--yes"), done=2),
    "rekey": Case(("rekey", "--new-key-file", "new.key"), done=2),
}


class Place:
    """A folder with runs, a cohort and stores, in which verbs run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scratch").mkdir(exist_ok=True)
        self.environment = {
            **os.environ, "LEADLINE_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder / "scratch"),
        }  # fmt: skip

    def words(self, case: Case) -> list[str]:
        """The command line of a verb in this folder."""
        place = f"import os; os.chdir({str(self.folder)!r}); "
        code = f"{place}from leadline.cli.app import main; main()"
        names = pl.read_parquet(self.folder / "cohort" / "people.parquet")["person_id"]
        words = [word.format(person=names[0]) for word in case.command]
        return [sys.executable, "-c", code, "monitor", *words, "--store", case.store]

    def run(self, case: Case) -> int:
        """Run a verb; its exit code."""
        words = self.words(case)
        return subprocess.run(
            words, env=self.environment, check=False, capture_output=True
        ).returncode

    def copy(self, folder: Path) -> Place:
        """The same in another folder."""
        return Place(shutil.copytree(self.folder, folder))

    def files(self) -> set[str]:
        """Names of all files that lie here, states of readers left out."""
        names = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return {name for name in names if not name.startswith("home/")}

    def facts(self, store: str) -> dict[str, object]:
        """What the store says of itself, by the key that opens it."""
        keys = [f"{store}.key", "new.key", ".new.key.pending"]
        for key in (name for name in keys if (self.folder / name).is_file()):
            try:
                facts = examine(str(self.folder / store), KeyConfig(key_file=self.folder / key))
            except LeadlineError:
                continue
            shown = {name: value for name, value in facts.items() if name not in TIMELESS}
            return {"key": key, **shown}
        raise AssertionError("no key opens the store")

    def rows(self, store: str) -> dict[str, int]:
        """Rows by table; of estimates, which are never deleted, those that are shown."""
        with closing(sqlite3.connect(self.folder / store)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            shown = "(SELECT * FROM estimate WHERE superseded_at IS NULL)"
            rows = {name: shown if name == "estimate" else name for (name,) in tables.fetchall()}
            return {
                name: connection.execute(f"SELECT count(*) FROM {source}").fetchone()[0]
                for name, source in rows.items()
            }


@pytest.fixture(scope="module")
def begun(tmp_path_factory, simulated, sentence_reader, monitor_run, spread_cohort):
    """What there is before each verb."""
    if not can_trace():
        pytest.skip("strace is not permitted here")
    place = Place(tmp_path_factory.mktemp("begun"))
    shutil.copytree(monitor_run, place.folder / "run")
    shutil.copytree(spread_cohort, place.folder / "cohort")
    names = simulated.phq9["person_id"].unique(maintain_order=True).to_list()
    shutil.move(
        tiny_run(place.folder / "o", simulated, sentence_reader, names[2:14]),
        place.folder / "other",
    )
    shutil.rmtree(place.folder / "o")
    for store in ("made.sqlite", "full.sqlite", "loaded.sqlite"):
        assert place.run(Case(CASES["init"].command, store)) == 0
    for store in ("full.sqlite", "loaded.sqlite"):
        assert place.run(Case(CASES["load"].command, store)) == 0
    assert place.run(Case(CASES["score"].command)) == 0
    shutil.rmtree(place.folder / "states")
    return place


def _assert_whole(here: Place, begun: Place, whole: Place, case: Case) -> None:
    """The store opens, and each of its tables is as it was, or as it will be."""
    if not (begun.folder / case.store).exists():
        if (here.folder / case.store).exists():
            here.rows(case.store)  # it is a database; the next run goes on with it
        return
    before, after = begun.rows(case.store), whole.rows(case.store)
    for table, count in here.rows(case.store).items():
        between = range(before[table], after[table] + 1)
        assert count in (between if table in case.steps else (before[table], after[table])), table
    facts = here.facts(case.store)
    assert facts.keys() == whole.facts(case.store).keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_any_call_leaves_a_store_that_opens_and_no_debris(begun, tmp_path, name):
    case = CASES[name]
    whole = begun.copy(tmp_path / "whole")
    calls = calls_of(whole.words(case), whole.environment)
    places = [(call, n) for call, n in calls if n % case.often == 0]
    assert len(places) >= 3
    print(f"{name}: {len(places)} kills")
    after = whole.rows(case.store)
    for place in places:
        here = begun.copy(tmp_path / "killed")
        assert kill_in_call(here.words(case), here.environment, place), place
        _assert_whole(here, begun, whole, case)
        assert here.run(case) in (0, case.done), place
        rows = here.rows(case.store)
        for table in case.again:
            assert rows[table] in (after[table], after[table] + 1), place
        assert {**rows, **{table: after[table] for table in case.again}} == after, place
        assert here.facts(case.store) == whole.facts(case.store), place
        assert here.files() == whole.files(), place
        shutil.rmtree(here.folder)
