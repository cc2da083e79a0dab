"""The directory of a run: whose it is, what is kept of it, what is replaced."""

import json
import tomllib
from dataclasses import asdict

import pytest
from tests.support.cohorts import files_of

from leadline.artefact import write_manifest
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.runs import directory
from leadline.runs.config import TrainConfig
from leadline.runs.directory import run_directory, to_toml

SETTINGS = {"train": asdict(TrainConfig()), "window": asdict(WindowConfig()),
            "inputs": {"turns.parquet": "ab", 'odd "name" é': "cd"}}  # fmt: skip


def finish(path):
    write_manifest(path, kind="run", command="train", settings={}, inputs={})


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


def test_a_finished_run_is_replaced_only_on_request_and_only_by_a_finished_one(tmp_path):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, overwrite=False) as run:
        (run / "old").touch()
        finish(run)
    with pytest.raises(LeadlineError, match="finished"), run_directory(out, SETTINGS, False):
        pass
    before = files_of(out)
    error = LeadlineError("too little", remedy="more")
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, True):
        raise error
    assert files_of(tmp_path) == {f"run/{name}": content for name, content in before.items()}
    with pytest.raises(KeyboardInterrupt), run_directory(out, SETTINGS, True):
        raise KeyboardInterrupt
    assert not (out / "old").exists()
    assert (tmp_path / ".run.replaced" / "old").exists(), "not lost before the new one is there"
    with run_directory(out, SETTINGS, True) as run:
        finish(run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (out / "old").exists()


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
        ("cohort", "Expected a run, found 'cohort'|finished"),
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
        (run / "half").touch()
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
            assert not (run / "half").exists()
            (run / "other half").touch()
    with pytest.raises(LeadlineError, match="Another version"), run_directory(out, SETTINGS, False):
        pass


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
