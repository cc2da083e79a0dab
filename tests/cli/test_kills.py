"""Verbs that are sent SIGKILL at their renames and fsyncs, one after the other, by strace.

Whatever the instant, each artefact is the old or the new, whole; the same command then ends as if
nothing had happened, and nothing is left over.
"""

from __future__ import annotations

import os
import re
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
from tests.support.fetched import keep_reader
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
SELFTRAIN = ("selftrain", "cohort", "--labels", "labelled", "--rounds", "1", "--folds", "4",
             *TRAIN[4:])  # fmt: skip
SIMULATE = ("simulate", "--preset", "easy", "--people", "30", "--gold", "20", "--locked", "4",
            "--user-turns", "9", "--limit", "--out")  # fmt: skip
SCORE = ("score", "cohort", "--run", "run", "--out")
PRIOR = ("prior", "--reader", "{reader}", "--out")
ASK = ("ask", "cohort", "--run", "assumed", "--out")


@dataclass(frozen=True)
class Case:
    """A verb to be killed.

    Attributes:
        command: its words.
        artefact: what it makes or changes.
        often: one in so many of its fsyncs is taken.
        renames: one in so many of its renames.
        done: exit code where the killed command had done its work already.
    """

    command: tuple[str, ...]
    artefact: str
    often: int = 1
    renames: int = 1
    done: int = 0

    def takes(self, call: str, number: int) -> bool:
        """Whether it is killed in this call."""
        return number % (self.renames if call.startswith("rename") else self.often) == 0


CASES = {
    "import": Case((*IMPORT, "--overwrite"), "imported"),
    "relock": Case(("relock", "edited"), "edited"),
    "lock": Case(("lock", "open"), "open", done=2),
    "label": Case(("label", "cohort", "--out", "labels", "--teacher", "simulated"), "labels"),
    "score": Case((*SCORE, "new.parquet"), "run", done=2),
    "score over": Case((*SCORE, "scores.parquet", "--overwrite"), "run"),
    "prior": Case((*PRIOR, "new"), "new", often=5, renames=4, done=2),
    "prior over": Case((*PRIOR, "assumed", "--overwrite"), "assumed", often=6, renames=4),
    "ask": Case((*ASK, "new.csv"), "assumed", done=2),
    "ask over": Case((*ASK, "asks.csv", "--count", "2", "--overwrite"), "assumed"),
    "evaluate": Case(
        ("evaluate", "run", "--resamples", "200", "--curve-resamples", "100"), "run", often=2
    ),
    "report": Case(("report", "run"), "run", often=2),
    "train": Case((*TRAIN, "new"), "new", often=4, done=2),
    "train over": Case((*TRAIN, "run", "--overwrite"), "run", often=4),
    "simulate": Case((*SIMULATE, "new"), "new", often=2, done=2),
    "simulate over": Case((*SIMULATE, "open", "--overwrite"), "open", often=2),
    "export": Case(("export", "run", "--out", "new"), "new", often=2, done=2),
    "export over": Case(("export", "run", "--out", "exported", "--overwrite"), "exported", often=4),
    "selftrain": Case((*SELFTRAIN, "new"), "new", often=8, renames=3, done=2),
    "demo": Case(("demo", "--people", "80", "--out", "new"), "new", often=20, renames=9),
}


class Place:
    """A folder with sources and artefacts, in which verbs run."""

    def __init__(self, folder: Path, home: Path, reader: Path) -> None:
        self.folder, self.reader, self.home = folder, reader, home
        (folder / "scratch").mkdir(exist_ok=True)
        self.environment = {
            **os.environ, "LEADLINE_HOME": str(home), "PYTHONPATH": str(ROOT / "src"),
            "TMPDIR": str(folder / "scratch"),
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
        return Place(shutil.copytree(self.folder, folder), self.home, self.reader)

    def tables(self) -> dict[str, bytes]:
        """Bytes of each table and of all weights."""
        kinds = (".parquet", ".safetensors", ".toml", ".csv")
        return {name: file for name, file in files_of(self.folder).items() if name.endswith(kinds)}

    def files(self) -> set[str]:
        """Names of all files, without the empty locks in artefacts."""
        return {name for name in files_of(self.folder) if not re.search(r"/\..*\.lock$", name)}

    def artefacts(self) -> set[str]:
        """What is finished here, and in a folder here."""
        shown = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        shown += [path for folder in shown for path in folder.glob("[!.]*") if path.is_dir()]
        return {
            str(path.relative_to(self.folder)) for path in shown if manifest_of(path) is not None
        }


@pytest.fixture(scope="module")
def begun(tmp_path_factory, sentence_reader):
    """What there is before each verb."""
    if not can_trace():
        pytest.skip("strace is not permitted here")
    folder = tmp_path_factory.mktemp("begun")
    home = tmp_path_factory.mktemp("home")
    keep_reader(home, sentence_reader, "minilm")
    place = Place(folder, home, sentence_reader)
    simulate_cohort(folder / "cohort", SMALL)
    simulate_cohort(folder / "open", changed(SMALL, locked=0))
    (folder / "said.csv").write_text(SAID)
    (folder / "labels.csv").write_text(LABELS)
    assert place.run(*IMPORT) == 0
    (folder / "said.csv").write_text(SAID + MORE)
    assert place.run(*TRAIN, "run") == 0
    assert place.run("label", "cohort", "--out", "labelled", "--teacher", "simulated") == 0
    assert place.run("export", "run", "--out", "exported") == 0
    assert place.run(*SCORE, "scores.parquet") == 0
    assert place.run(*PRIOR, "assumed") == 0
    assert place.run(*ASK, "asks.csv") == 0
    shutil.copytree(folder / "cohort", folder / "edited")
    table = pl.read_parquet(folder / "edited" / "phq9.parquet")
    table.with_columns(prorated=pl.lit(True)).write_parquet(folder / "edited" / "phq9.parquet")
    return place


def _assert_whole(here: Place, begun: Place, after: dict[str, bytes], case: Case) -> None:
    """Whatever is finished is the old or the new, and nothing that was is not."""
    there, before = here.artefacts(), begun.tables()
    assert there >= begun.artefacts()
    relocked = case.command[0] == "relock"
    for name in there:
        if name != "edited" or relocked:
            problems = {finding.file for finding in verify(here.folder / name).wrong}
            assert problems <= ({"phq9.parquet"} if relocked else set()), name
    for file, content in here.tables().items():
        if "/" not in file and not file.startswith("."):
            assert content in (before.get(file), after.get(file)), file
        finished = any(file.startswith(f"{name}/") for name in there)
        scratch = file.startswith(".") or not finished
        assert scratch or content in (before.get(file), after.get(file)), file


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_any_call_leaves_the_old_or_the_new_and_no_debris(begun, tmp_path, name):
    case = CASES[name]
    whole = begun.copy(tmp_path / "whole")
    calls = calls_of(whole.words(*case.command), whole.environment)
    places = [(call, n) for call, n in calls if case.takes(call, n)]
    assert len(places) >= 3
    print(f"{name}: {len(places)} kills")
    after = whole.tables()
    for place in places:
        here = begun.copy(tmp_path / "killed")
        assert kill_in_call(here.words(*case.command), here.environment, place), place
        _assert_whole(here, begun, after, case)
        assert here.run(*case.command) in (0, case.done), place
        assert here.tables() == after, place
        assert here.files() == whole.files(), place
        assert {path.name for path in here.folder.iterdir()} == {
            path.name for path in whole.folder.iterdir()
        }
        shutil.rmtree(here.folder)


@pytest.mark.slow
def test_verify_reads_and_writes_nothing(begun):
    before = files_of(begun.folder)
    for name in ("cohort", "labelled", "run", "exported"):
        assert calls_of(begun.words("verify", name), begun.environment) == []
    assert files_of(begun.folder) == before
