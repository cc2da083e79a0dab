"""Verbs that are sent SIGKILL at their renames and fsyncs, one after the other, by strace.

Whatever the instant, each artefact is the old or the new, whole; the same command then ends as if
nothing had happened, and nothing is left over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

import polars as pl
import pytest
from tests.support import ROOT
from tests.support.cohorts import SMALL, files_of
from tests.support.kills import calls_of, can_trace, kill_in_call

from leadline.artefact import manifest_of
from leadline.runs.verify import verify
from leadline.simulate.cohort import simulate_cohort

SAID = "person_id,role,text,time\nann,user,low today,2024-05-01T10:01:00Z\n"
MORE = "ben,user,fine thanks,2024-05-02T10:00:00Z\n"
LABELS = "person_id,time,total\nann,2024-05-02T00:00:00Z,14\n"

IMPORT = ("import", "said.csv", "--phq9", "labels.csv", "--out", "imported")
TRAIN = ("train", "cohort", "--folds", "2", "--inner-folds", "2", "--fit", "ridge",
         "--no-baselines", "--reader", "{reader}", "--out")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A verb to be killed.

    Attributes:
        command: its words.
        artefact: what it makes or changes.
        often: one in so many of its fsyncs is taken; renames all.
        done: exit code where the killed command had done its work already.
    """

    command: tuple[str, ...]
    artefact: str
    often: int = 1
    done: int = 0


CASES = {
    "import": Case((*IMPORT, "--overwrite"), "imported"),
    "relock": Case(("relock", "edited"), "edited"),
    "lock": Case(("lock", "open"), "open", done=2),
    "label": Case(("label", "cohort", "--out", "labels", "--teacher", "simulated"), "labels"),
    "score": Case(("score", "cohort", "--run", "run", "--out", "scores.parquet"), "run", done=2),
    "evaluate": Case(
        ("evaluate", "run", "--resamples", "200", "--curve-resamples", "100"), "run", often=2
    ),
    "report": Case(("report", "run"), "run", often=2),
    "train": Case((*TRAIN, "new"), "new", often=4, done=2),
    "train over": Case((*TRAIN, "run", "--overwrite"), "run", often=4),
}


class Place:
    """A folder with sources and artefacts, in which verbs run."""

    def __init__(self, folder: Path, home: Path, reader: Path) -> None:
        self.folder, self.reader = folder, reader
        self.environment = {
            **os.environ, "LEADLINE_HOME": str(home), "PYTHONPATH": str(ROOT / "src")
        }  # fmt: skip

    def words(self, *arguments: str) -> list[str]:
        """The command line of a verb in this folder."""
        places = [argument.format(reader=self.reader) for argument in arguments]
        code = (
            f"import os; os.chdir({str(self.folder)!r}); from leadline.cli.app import main; main()"
        )
        return [sys.executable, "-c", code, *places]

    def run(self, *arguments: str) -> int:
        """Run a verb; its exit code."""
        words = self.words(*arguments)
        done = subprocess.run(words, env=self.environment, check=False, capture_output=True)
        return done.returncode

    def copy(self, folder: Path) -> Place:
        """The same in another folder."""
        place = Place(shutil.copytree(self.folder, folder), Path(), self.reader)
        place.environment = self.environment
        return place

    def tables(self) -> dict[str, bytes]:
        """Bytes of each table and of all weights."""
        kinds = (".parquet", ".safetensors", ".toml")
        return {name: file for name, file in files_of(self.folder).items() if name.endswith(kinds)}

    def artefacts(self) -> list[Path]:
        """What is finished here."""
        shown = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return [path for path in shown if manifest_of(path) is not None]


@pytest.fixture(scope="module")
def begun(tmp_path_factory, sentence_reader):
    """What there is before each verb."""
    if not can_trace():
        pytest.skip("strace is not permitted here")
    folder = tmp_path_factory.mktemp("begun")
    place = Place(folder, tmp_path_factory.mktemp("home"), sentence_reader)
    simulate_cohort(folder / "cohort", SMALL)
    simulate_cohort(folder / "open", changed(SMALL, locked=0))
    (folder / "said.csv").write_text(SAID)
    (folder / "labels.csv").write_text(LABELS)
    assert place.run(*IMPORT) == 0
    (folder / "said.csv").write_text(SAID + MORE)
    assert place.run(*TRAIN, "run") == 0
    shutil.copytree(folder / "cohort", folder / "edited")
    table = pl.read_parquet(folder / "edited" / "phq9.parquet")
    table.with_columns(prorated=pl.lit(True)).write_parquet(folder / "edited" / "phq9.parquet")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_any_call_leaves_the_old_or_the_new_and_no_debris(begun, tmp_path, name):
    case = CASES[name]
    whole = begun.copy(tmp_path / "whole")
    calls = calls_of(whole.words(*case.command), whole.environment)
    places = [(call, n) for call, n in calls if call != "fsync" or n % case.often == 0]
    assert len(places) >= 3
    before, after = begun.tables(), whole.tables()
    for place in places:
        here = begun.copy(tmp_path / "killed")
        assert kill_in_call(here.words(*case.command), here.environment, place), place
        there = {path.name for path in here.artefacts()}
        assert there >= {path.name for path in begun.artefacts()}, place
        for path in here.artefacts():
            if path.name != "edited" or name == "relock":
                problems = {finding.file for finding in verify(path).wrong}
                assert problems <= ({"phq9.parquet"} if name == "relock" else set()), place
        for file, content in here.tables().items():
            scratch = file.startswith(".") or case.artefact not in there
            assert scratch or content in (before.get(file), after.get(file)), (place, file)
        assert here.run(*case.command) in (0, case.done), place
        assert here.tables() == after, place
        assert set(files_of(here.folder)) == set(files_of(whole.folder)), place
        assert {path.name for path in here.folder.iterdir()} == {
            path.name for path in whole.folder.iterdir()
        }
        shutil.rmtree(here.folder)
