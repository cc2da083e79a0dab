"""The directory of a run: whose it is, what is kept of it, what is replaced."""

import contextlib
import json
import os
import tomllib
from dataclasses import asdict

import pytest
from tests.support.cohorts import files_of
from tests.support.kills import kill_at, steps_of

from leadline.artefact import write_manifest
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.runs import directory
from leadline.runs.config import TrainConfig
from leadline.runs.directory import RunIsTrained, run_directory, to_toml

SETTINGS = {"train": asdict(TrainConfig()), "window": asdict(WindowConfig()),
            "inputs": {"turns.parquet": "ab", 'odd "name" é': "cd"}}  # fmt: skip


def finish(path):
    write_manifest(path, kind="run", command="train", settings={}, inputs={})


def evaluate(path):
    for name in directory.AFTER:
        (path / name).write_text("{}")


def test_settings_are_written_as_toml_that_says_the_same():
    read = tomllib.loads(to_toml(SETTINGS))
    assert read == json.loads(json.dumps(SETTINGS))


def test_an_unfinished_run_goes_on_with_the_same_settings_only(tmp_path):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, overwrite=False) as run:
        (run / "half").write_text("1")
    with run_directory(out, SETTINGS, overwrite=False) as run:
        assert (run / "half").read_text() == "1"
    other = {**SETTINGS, "inputs": {"turns.parquet": "changed"}}
    for overwrite in (False, True):
        with (
            pytest.raises(LeadlineError, match="other settings or inputs"),
            run_directory(out, other, overwrite=overwrite),
        ):
            pass
    assert (out / "half").exists()


def finished_run(out, name="old.parquet"):
    with run_directory(out, SETTINGS, overwrite=False) as run:
        (run / name).touch()
        finish(run)
    evaluate(out)


def test_a_finished_run_is_replaced_only_on_request_and_only_by_a_finished_one(tmp_path):
    out = tmp_path / "run"
    finished_run(out)
    with pytest.raises(LeadlineError, match="finished"), run_directory(out, SETTINGS, False):
        pass
    before = {f"run/{name}": content for name, content in files_of(out).items()}
    error = LeadlineError("too little", remedy="more")
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, True):
        raise error
    assert files_of(tmp_path) == before
    with pytest.raises(KeyboardInterrupt), run_directory(out, SETTINGS, True) as run:  # noqa: PT012
        (run / "new.parquet").touch()
        raise KeyboardInterrupt
    kept = files_of(tmp_path)
    assert before.items() <= kept.items(), "the old run stays whole until the new one is there"
    assert ".run.begun/new.parquet" in kept
    with run_directory(out, SETTINGS, True) as run:
        assert (run / "new.parquet").is_file(), "and what was begun goes on"
        finish(run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in out.iterdir()) == [
        "config.toml", "manifest.json", "new.parquet"
    ]  # fmt: skip


def test_a_run_that_holds_something_else_is_not_replaced(tmp_path):
    out = tmp_path / "run"
    finished_run(out, "thesis.txt")
    before = files_of(tmp_path)
    with (
        pytest.raises(LeadlineError, match="holds something that Leadline did not write"),
        run_directory(out, SETTINGS, True),
    ):
        pass
    assert files_of(tmp_path) == before


def test_a_run_is_apart_from_what_it_is_made_from_and_behind_no_link(tmp_path):
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for out in (cohort, cohort / "run", tmp_path):
        with (
            pytest.raises(LeadlineError, match="something that is read for it"),
            run_directory(out, SETTINGS, True, [None, cohort]),
        ):
            pass
    finished_run(tmp_path / "run")
    (tmp_path / ".run.begun").symlink_to(cohort)
    with (
        pytest.raises(LeadlineError, match="A link lies where"),
        run_directory(tmp_path / "run", SETTINGS, True),
    ):
        pass
    assert not any(cohort.iterdir())


@pytest.mark.parametrize(("name", "verb"), directory.AFTER.items())
def test_a_run_that_was_killed_before_its_results_or_report_goes_on_with_them(tmp_path, name, verb):
    out = tmp_path / "run"
    finished_run(out)
    (out / name).unlink()
    before = files_of(tmp_path)
    with (
        pytest.raises(RunIsTrained, match=f"leadline {verb}"),
        run_directory(out, SETTINGS, False),
    ):
        pass
    other = {**SETTINGS, "inputs": {}}
    with pytest.raises(LeadlineError, match="is finished"), run_directory(out, other, False):
        pass
    assert files_of(tmp_path) == before


def test_a_kill_before_the_new_run_takes_its_place_costs_no_training(tmp_path, monkeypatch):
    out = tmp_path / "run"
    finished_run(out)
    with monkeypatch.context() as patch:
        patch.setattr(directory, "put_in_place", killed)
        with pytest.raises(KeyboardInterrupt), run_directory(out, SETTINGS, True) as run:  # noqa: PT012
            (run / "new.parquet").touch()
            finish(run)
    assert (out / "old.parquet").is_file()
    with pytest.raises(RunIsTrained), run_directory(out, SETTINGS, True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (out / "new.parquet").is_file()
    with run_directory(out, SETTINGS, True) as run:  # asked for once more, it is made anew
        assert not (run / "new.parquet").exists()
        finish(run)
    assert not (out / "new.parquet").exists()


def killed(*_):
    raise KeyboardInterrupt


def test_what_was_left_half_written_goes_when_the_run_goes_on(tmp_path):
    with run_directory(tmp_path / "run", SETTINGS, False) as run:
        (run / "checkpoint").mkdir()
        for name in (
            f".config.toml.{os.getpid()}-0123abcd",
            "checkpoint/.model.json.999999999-0123abcd",
        ):
            (run / name).touch()
        (run / ".mine").touch()
    with run_directory(tmp_path / "run", SETTINGS, False) as run:
        assert sorted(path.name for path in run.rglob(".*")) == [".mine"]


def test_a_mistake_removes_a_new_directory_but_not_what_was_begun(tmp_path):
    out = tmp_path / "deep" / "run"
    error = LeadlineError("too little", remedy="more")
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, False):
        raise error
    assert not out.exists()
    with run_directory(out, SETTINGS, False) as run:
        (run / "fold").touch()
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, False):
        raise error
    assert (out / "fold").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_run_is_left_alone(tmp_path, overwrite):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "cohort").mkdir()
    write_manifest(tmp_path / "cohort", kind="cohort", command="x", settings={}, inputs={})
    before = files_of(tmp_path)
    for name, message in (
        ("file", "is a file"),
        ("file/below", "cannot be made here"),
        ("folder", "is not a run"),
        ("cohort", "What lies here is a 'cohort', not a 'run'"),
    ):
        with (
            pytest.raises(LeadlineError, match=message),
            run_directory(tmp_path / name, SETTINGS, overwrite),
        ):
            pass
    assert files_of(tmp_path) == before


def another_version(monkeypatch):
    monkeypatch.setattr(directory, "code_version", lambda: "0.9.9+another")


def test_what_another_version_began_is_refused_or_begun_anew(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, False) as run:
        (run / "half.parquet").touch()
    before = files_of(out)
    with monkeypatch.context() as patch:
        another_version(patch)
        with (
            pytest.raises(
                LeadlineError, match=r"Another version .* began .*This is 0.9.9"
            ) as error,
            run_directory(out, SETTINGS, False),
        ):
            pass
        assert "--overwrite" in error.value.remedy
        assert files_of(out) == before
        with run_directory(out, SETTINGS, True) as run:
            assert not (run / "half.parquet").exists()
            (run / "other-half.parquet").touch()
    with pytest.raises(LeadlineError, match="Another version"), run_directory(out, SETTINGS, False):
        pass


def test_what_somebody_put_into_an_unfinished_run_is_not_removed(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, False) as run:
        (run / "thesis.txt").write_text("mine")
    before = files_of(out)
    another_version(monkeypatch)
    for _ in range(2):
        with pytest.raises(LeadlineError, match="holds something that Leadline did not write"):
            run_directory(out, SETTINGS, True).__enter__()
        assert files_of(out) == before


def test_what_somebody_puts_into_a_run_while_it_is_replaced_is_not_removed(tmp_path):
    out = tmp_path / "run"
    finished_run(out)

    def replace_it():
        with run_directory(out, SETTINGS, True) as new:
            finish(new)
            (out / "thesis.txt").write_text("mine")

    with pytest.raises(LeadlineError, match="holds something that Leadline did not write"):
        replace_it()
    assert (out / "thesis.txt").read_text() == "mine"
    (out / "thesis.txt").rename(tmp_path / "thesis.txt")
    with pytest.raises(RunIsTrained), run_directory(out, SETTINGS, True):
        pass
    assert not (tmp_path / ".run.begun").exists()


@pytest.mark.parametrize("code", ["kanarienvogel so hopeless", "0.1.0+canary", "7x"])
def test_what_a_begun_run_says_of_its_version_is_not_quoted(tmp_path, code):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, False):
        pass
    (out / directory.BEGUN).write_text(json.dumps({"code": code}))
    with pytest.raises(LeadlineError, match="did not say which it was") as refused:
        run_directory(out, SETTINGS, False).__enter__()
    assert "canary" not in str(refused.value)


def test_a_run_that_does_not_say_who_began_it_is_of_another_version(tmp_path):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, False):
        pass
    (out / directory.CONFIG).write_text(to_toml(SETTINGS))  # as an earlier version left it
    for content in (None, "{", "[]"):
        if content is None:
            (out / directory.BEGUN).unlink()
        else:
            (out / directory.BEGUN).write_text(content)
        with pytest.raises(LeadlineError, match="did not say"), run_directory(out, SETTINGS, False):
            pass


def test_a_kill_before_the_settings_are_written_leaves_a_place_to_begin_in(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / directory.BEGUN).write_text('{"code": "0.0.1+x"}')
    with run_directory(tmp_path / "run", SETTINGS, False) as run:
        finish(run)
    assert not (tmp_path / "run" / directory.BEGUN).exists(), "a finished run has a manifest"


def make(out, word, overwrite):
    with run_directory(out, SETTINGS, overwrite) as run:
        (run / "made.parquet").write_text(word)
        finish(run)


@pytest.mark.parametrize("old", ["old", None])
def test_a_kill_at_any_step_leaves_the_old_run_or_the_new_and_the_next_ends_well(tmp_path, old):
    def begin(name):
        if old is not None:
            make(tmp_path / name / "run", old, overwrite=False)
            evaluate(tmp_path / name / "run")
        return tmp_path / name / "run"

    counted = begin("counted")
    count = steps_of(lambda: make(counted, "new", overwrite=True))
    assert count > 10
    for step in range(count):
        out = begin(str(step))
        kill_at(step, lambda out=out: make(out, "new", overwrite=True))
        if (out / "manifest.json").is_file():
            assert (out / "made.parquet").read_text() in ("new", old), step
        else:
            assert old is None, step
        with contextlib.suppress(RunIsTrained):  # where it was the new one already
            make(out, "new", overwrite=True)
        assert (out / "made.parquet").read_text() == "new"
        assert set(files_of(out.parent)) == set(files_of(counted.parent)), step
        assert [path.name for path in out.parent.iterdir()] == ["run"], step
