import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import polars as pl
import pytest
from tests.support.cohorts import files_of

from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.scoring import parts as parts_module
from leadline.scoring.config import ScoreConfig
from leadline.scoring.parts import PartFolder, open_parts
from leadline.scoring.score import score_cohort
from leadline.tables import ESTIMATES

CONFIG = ScoreConfig(part_people=7, batch_people=3)
PARTS = 9  # of 60 people


class Stopped(Exception):
    """A run that ends in the middle."""


@pytest.fixture
def write_log(monkeypatch):
    """Numbers of the parts that are written, and after how many the run is to stop."""
    log = {"written": [], "stop": None}
    write = PartFolder.write

    def logged(self, number, table, counts):
        if log["stop"] == len(log["written"]):
            raise Stopped
        write(self, number, table, counts)
        log["written"].append(number)

    monkeypatch.setattr(PartFolder, "write", logged)
    return log


@pytest.fixture(scope="module")
def whole(simulated_path, trained, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out.parquet"
    counts = score_cohort(simulated_path, trained, out, CONFIG, home=home)
    return counts, out.read_bytes()


@pytest.fixture
def stopped(simulated_path, trained, home, tmp_path, write_log):
    """A run that stopped after four parts, and what goes on with it."""
    out = tmp_path / "out.parquet"

    def go(config=CONFIG, run=trained, cohort=simulated_path):
        return score_cohort(cohort, run, out, config, home=home)

    write_log["stop"] = 4
    with pytest.raises(Stopped):
        go()
    assert not out.exists()
    assert write_log["written"] == [0, 1, 2, 3]
    write_log.update(written=[], stop=None)
    return out, go


def folder_of(out):
    return out.with_name(f".{out.name}.parts")


def part(out, number):
    (file,) = folder_of(out).glob(f"{number:06d}-*.parquet")
    return file


def test_a_run_that_stopped_goes_on_from_its_parts(stopped, whole, write_log):
    out, go = stopped
    assert go() == whole[0]
    assert write_log["written"] == list(range(4, PARTS))
    assert out.read_bytes() == whole[1]
    assert not folder_of(out).exists()


def test_a_damaged_part_is_made_again(stopped, whole, write_log):
    out, go = stopped
    file = part(out, 2)
    file.write_bytes(file.read_bytes()[:-9])
    go()
    assert write_log["written"] == [2, *range(4, PARTS)]
    assert out.read_bytes() == whole[1]


@pytest.mark.parametrize("what", ["settings", "cohort", "run", "manifest"])
def test_parts_of_something_else_are_thrown_away(
    stopped, whole, write_log, cohort_path, trained, tmp_path, what
):
    out, go = stopped
    if what == "settings":
        go(replace(CONFIG, batch_people=4))
    elif what == "cohort":
        cohort = read_cohort(cohort_path)
        go(cohort=replace(cohort, turns=cohort.turns.with_columns(text=pl.lit("I am well"))))
    elif what == "run":
        model = {"turns": "", "model": "another", "ledger": ""}
        settings = {"batch_people": 3, "part_people": 7}
        with open_parts(out, settings, model, PARTS) as parts:
            assert not parts.finished()
        return
    else:
        (folder_of(out) / "manifest.json").write_text("{")
        go()
    assert write_log["written"] == list(range(PARTS))


@pytest.mark.parametrize("code", ["0.9.9+another", None])
def test_parts_of_another_version_are_made_anew_and_it_is_said(
    stopped, whole, write_log, monkeypatch, code
):
    out, go = stopped
    manifest = json.loads((folder_of(out) / "manifest.json").read_text())
    manifest["code"] = code
    if code is None:
        del manifest["code"]  # as an earlier version left it
    (folder_of(out) / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="Another version of Leadline"):
        go()
    assert write_log["written"] == list(range(PARTS))
    assert out.read_bytes() == whole[1]


def test_a_straggler_of_other_settings_is_no_part(tmp_path):
    table = pl.DataFrame(schema=ESTIMATES)
    with open_parts(tmp_path / "out", {"a": 1}, {}, 1) as old:
        old.write(0, table, {"people": 0})
        assert old.finished() == {0: {"people": 0}}
    with open_parts(tmp_path / "out", {"a": 2}, {}, 1) as new:
        old.write(0, table, {"people": 0})
        assert new.finished() == {}


def test_two_processes_do_not_write_one_file(stopped):
    out, go = stopped
    with (folder_of(out) / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LeadlineError, match="Another process is writing"):
            go()
        assert len(list(folder_of(out).glob("*.parquet"))) == 4
    go()


def test_what_someone_else_put_there_is_not_removed(stopped):
    out, go = stopped
    (folder_of(out) / "notes.txt").write_text("mine")
    with pytest.raises(LeadlineError, match="did not write"):
        go(replace(CONFIG, batch_people=4))
    assert (folder_of(out) / "notes.txt").read_text() == "mine"


def test_small_row_groups_are_joined_in_order(whole, stopped, monkeypatch):
    out, go = stopped
    monkeypatch.setattr(parts_module, "GROUP_ROWS", 100)
    go()
    assert pl.read_parquet(out).equals(pl.read_parquet(whole[1]))


def test_the_cohort_in_memory_and_on_disk_give_the_same(whole, simulated, trained, home, tmp_path):
    out = tmp_path / "out.parquet"
    assert score_cohort(simulated, trained, out, CONFIG, home=home) == whole[0]
    assert out.read_bytes() == whole[1]


@pytest.fixture
def left_over(whole, simulated_path, trained, home, tmp_path, monkeypatch):
    """The file is there, and its parts too: the kill came before they were removed."""
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(parts_module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            score_cohort(simulated_path, trained, out, CONFIG, home=home)
    assert out.read_bytes() == whole[1]
    assert folder_of(out).is_dir()
    return out


def killed(*_):
    raise KeyboardInterrupt


def test_what_was_joined_before_a_kill_is_finished_by_the_same_command(
    whole, left_over, simulated_path, trained, home
):
    assert score_cohort(simulated_path, trained, left_over, CONFIG, home=home) == whole[0]
    assert left_over.read_bytes() == whole[1]
    assert list(files_of(left_over.parent)) == ["out.parquet"]


@pytest.mark.parametrize("change", ["settings", "file"])
def test_parts_beside_a_file_of_others_do_not_replace_it(
    left_over, simulated_path, trained, home, change
):
    if change == "file":  # that somebody made with --overwrite, and was killed while replacing
        pl.read_parquet(left_over).head(3).write_parquet(left_over)
    config = CONFIG if change == "file" else replace(CONFIG, batch_people=4)
    before = files_of(left_over.parent)
    with pytest.raises(LeadlineError, match="already exists"):
        score_cohort(simulated_path, trained, left_over, config, home=home)
    assert files_of(left_over.parent) == before


def test_without_a_cache_the_bits_are_those_of_an_empty_one(simulated_path, trained, tmp_path):
    for name, cache in (("with", True), ("without", False)):
        out, config = tmp_path / f"{name}.parquet", replace(CONFIG, part_people=60, batch_people=60)
        score_cohort(
            simulated_path, trained, out, replace(config, cache=cache), home=tmp_path / name
        )
    assert (tmp_path / "with" / "states").is_dir()
    assert not (tmp_path / "without").exists()
    assert (tmp_path / "with.parquet").read_bytes() == (tmp_path / "without.parquet").read_bytes()


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(simulated_path, trained, home, tmp_path, write_log):
    flags = ["--part-people", "1", "--batch-people", "1", "--no-cache"]
    out, expected = tmp_path / "out.parquet", tmp_path / "expected.parquet"
    code = ["-c", "from leadline.cli.app import main; main()", "score", str(simulated_path)]
    command = [sys.executable, *code, "--run", str(trained), "--out", str(out), *flags]
    process = subprocess.Popen(command, env={**os.environ, "LEADLINE_HOME": str(home)})
    end = time.monotonic() + 120
    while len(list(folder_of(out).glob("*.parquet"))) < 5 and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(folder_of(out).glob("*.parquet")))
    assert 5 <= kept < 60
    assert not out.exists()
    config = ScoreConfig(part_people=1, batch_people=1, cache=False)
    score_cohort(simulated_path, trained, out, config, home=home)
    assert len(write_log["written"]) == 60 - kept
    score_cohort(simulated_path, trained, expected, config, home=home)
    assert out.read_bytes() == expected.read_bytes()
    assert set(files_of(tmp_path)) == {"out.parquet", "expected.parquet"}
