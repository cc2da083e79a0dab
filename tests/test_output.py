"""The one door for outputs: what it refuses, what a kill leaves, who may write at one time."""

import contextlib
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.cohorts import files_of
from tests.support.kills import kill_at, steps_of

from leadline import output
from leadline.artefact import MANIFEST, sha256, write_manifest
from leadline.errors import LeadlineError
from leadline.output import (
    changing,
    check_apart,
    check_begun,
    check_file,
    holding,
    new_directory,
    new_file,
    scratch_folder,
    strangers,
)


def make(path, word, *, kind="export", inputs=(), overwrite=True):
    with new_directory(path, kind, inputs, overwrite=overwrite) as scratch:
        fill(scratch, word, kind)


def fill(scratch, word, kind="export"):
    (scratch / "deep").mkdir()
    (scratch / "deep" / "a").write_text(word)
    files = {"deep/a": sha256(scratch / "deep" / "a")}
    write_manifest(scratch, kind=kind, command="x", settings={}, inputs={}, files=files)


def word_of(path):
    return (path / "deep" / "a").read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_directory_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    before = os.umask(0o000)
    try:
        with new_directory(out, "export") as scratch:
            (scratch / "a").write_text("1")
            assert not out.exists()
            assert permissions(scratch) == 0o700, "for its owner from the first byte"
    finally:
        os.umask(before)
    assert names(tmp_path / "deep") == ["out"]
    assert names(out) == ["a"]
    assert (permissions(out), permissions(out / "a")) == (0o700, 0o600)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, LeadlineError])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    out = tmp_path / "out"
    make(out, "old")
    before = files_of(out)
    made = error("no", remedy="none") if error is LeadlineError else error("no")
    with pytest.raises(error), new_directory(out, "export", overwrite=True) as scratch:  # noqa: PT012
        (scratch / "half").touch()
        raise made
    assert names(tmp_path) == ["out"]
    assert files_of(out) == before


def folder_of_an_extension(path):
    path.mkdir()
    (path / MANIFEST).write_text(json.dumps({"manifest_version": 3, "name": "x"}))
    (path / "background.js").write_text("mine")


def artefact_with_a_stranger(path):
    make(path, "old")
    (path / ".git").mkdir()
    (path / ".git" / "HEAD").write_text("mine")


def stranger_deep_inside(path):
    make(path, "old")
    (path / "deep" / "thesis.txt").write_text("mine")


FOREIGN = {
    "an extension": (folder_of_an_extension, "not written by Leadline"),
    "a file": (lambda path: path.write_text("mine"), "not written by Leadline"),
    "another kind": (lambda path: make(path, "x", kind="run"), "is a 'run', not a 'export'"),
    "a stranger": (artefact_with_a_stranger, "holds something"),
    "a stranger deep inside": (stranger_deep_inside, "holds something"),
    "a folder": (lambda path: (path / "sub").mkdir(parents=True), "not written by Leadline"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_leadline_did_not_write_is_not_replaced(tmp_path, name):
    out = tmp_path / "out"
    build, message = FOREIGN[name]
    build(out)
    before = files_of(tmp_path)
    with pytest.raises(LeadlineError, match="already exists"):
        make(out, "new", overwrite=False)
    with pytest.raises(LeadlineError, match=message):
        make(out, "new")
    assert files_of(tmp_path) == before


def test_an_empty_folder_is_not_in_the_way_and_a_link_is(tmp_path):
    (tmp_path / "out").mkdir()
    make(tmp_path / "out", "new", overwrite=False)
    assert word_of(tmp_path / "out") == "new"
    for target in ("out", "nowhere"):
        link = tmp_path / f"to {target}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(LeadlineError, match="is a link"):
            make(link, "new")
    with pytest.raises(LeadlineError, match="cannot be made here"):
        make(tmp_path / "out" / "deep" / "a" / "below", "new")


def place(tmp_path, name):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "base.json").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "source")
    os.link(tmp_path / "source" / "base.json", tmp_path / "hard")
    return tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["source", "source/base.json", "source/deep/out", ".", "link/out", "hard", "source/../source"],
)
@pytest.mark.parametrize("read", ["source", "source/base.json", "link", "link/base.json"])
def test_an_output_touches_no_input(tmp_path, name, read):
    out, given = place(tmp_path, name), tmp_path / read
    apart = read.endswith("base.json") and name in {"source/deep/out", "link/out"}
    before = files_of(tmp_path)
    if apart:  # beside a file that is read, not in its way
        check_apart(out, [given])
        return
    with pytest.raises(LeadlineError, match="is read for it"):
        make(out, "new", inputs=[None, given])
    assert files_of(tmp_path) == before


def test_an_output_lies_in_no_artefact(tmp_path):
    make(tmp_path / "run", "old", kind="run")
    for name in ("run/out", "run/deep/out"):
        with pytest.raises(LeadlineError, match="lies in an artefact"):
            make(tmp_path / name, "new")


def test_what_is_begun_in_place_is_ours_empty_or_not_there(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()

    def check():
        check_begun(out, "labels", ("requests.sqlite",), [source])

    check()
    out.mkdir()
    check()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(LeadlineError, match="no labels that Leadline began"):
        check()
    (out / "requests.sqlite").touch()
    check()
    make_manifest(out, "run")
    with pytest.raises(LeadlineError, match="is a 'run', not a 'labels'"):
        check()
    make_manifest(out, "labels")
    with pytest.raises(LeadlineError, match="holds something that Leadline did not write"):
        check()
    (out / "thesis.txt").unlink()
    check()
    with pytest.raises(LeadlineError, match="is read for it"):
        check_begun(source / "out", "labels", (), [source])


def make_manifest(path, kind):
    write_manifest(path, kind=kind, command="x", settings={}, inputs={}, files={})


def test_one_file_is_replaced_on_request_and_by_its_own_kind(tmp_path):
    out = tmp_path / "out.parquet"

    def check(overwrite, is_own=lambda path: path.read_text() == "ours", inputs=()):
        check_file(out, inputs, is_own, overwrite=overwrite)

    check(overwrite=False)
    out.write_text("ours")
    with pytest.raises(LeadlineError, match="already exists"):
        check(overwrite=False)
    check(overwrite=True)
    with pytest.raises(LeadlineError, match="is read for it"):
        check(overwrite=True, inputs=[out])
    out.write_text("mine")
    with pytest.raises(LeadlineError, match="no file of this kind"):
        check(overwrite=True)
    out.unlink()
    out.symlink_to("nowhere")
    with pytest.raises(LeadlineError, match="is a link"):
        check(overwrite=True)
    out.unlink()
    out.mkdir()
    with pytest.raises(LeadlineError, match="already exists"):
        check(overwrite=True)


def swaps(path):
    make(path, "new")


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("old", ["old", None])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_whole(
    tmp_path, monkeypatch, old, can_exchange
):
    if not can_exchange:
        monkeypatch.setattr(output, "exchange", lambda *_: False)
    count = steps_of(lambda: swaps(tmp_path / "counted" / "out"))
    if old is not None:
        make(tmp_path / "again" / "out", old)
        count = steps_of(lambda: swaps(tmp_path / "again" / "out"))
    assert count > 5
    for step in range(count):
        out = tmp_path / str(step) / "out"
        if old is not None:
            make(out, old)
        kill_at(step, lambda out=out: swaps(out))
        if can_exchange or out.exists():
            found = word_of(out) if out.exists() else None
            assert found in (old, "new")
            assert found is None or set(files_of(out)) == {"deep/a", MANIFEST}
        else:
            assert old is None or word_of(output.replaced_name(out)) == old
        make(out, "new")
        assert (names(out.parent), word_of(out)) == (["out"], "new"), step


def test_what_was_moved_aside_is_put_back_even_if_the_next_command_fails(tmp_path):
    out = tmp_path / "out"
    make(out, "old")
    out.replace(output.replaced_name(out))
    with pytest.raises(LeadlineError, match="already exists"):
        make(out, "new", overwrite=False)
    assert (names(tmp_path), word_of(out)) == (["out"], "old")


def test_only_leftovers_under_known_names_go_and_it_is_said(tmp_path, caplog):
    kept = [".out.partial-mine", ".out.partial", ".other.partial-abcdefgh", ".out.partial-ABCDEFGH"]
    for name in [*kept, ".out.partial-abcd_f1h"]:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.partial-abcdefgh").symlink_to(tmp_path / ".out.partial-mine")
    make(tmp_path / "out", "new")
    assert names(tmp_path) == sorted([*kept, ".out.partial-abcdefgh", "out"])
    assert [record.message.split(": ")[0] for record in caplog.records] == [
        "Removed what an interrupted command had left here"
    ]


def hold(path, begun, end):
    with holding(path):
        begun.set()
        end.wait(30)


def test_the_second_writer_gets_one_clear_error_from_the_start(tmp_path):
    context = multiprocessing.get_context("spawn")
    begun, end = context.Event(), context.Event()
    writer = context.Process(target=hold, args=(tmp_path / "out", begun, end))
    writer.start()
    assert begun.wait(60)
    with pytest.raises(LeadlineError, match="Another process is writing here"):
        make(tmp_path / "out", "new")
    writer.kill()  # the lock goes with its process, the file stays
    writer.join()
    make(tmp_path / "out", "new")
    assert names(tmp_path) == ["out"]


def test_one_thread_may_hold_a_place_twice_and_leaves_nothing(tmp_path):
    with holding(tmp_path / "out"), holding(tmp_path / "out"):
        make(tmp_path / "out", "new")
        assert ".out.lock" in names(tmp_path)
    assert names(tmp_path) == ["out"]


def contend(path, word, rounds, told):
    for _ in range(rounds):
        try:
            make(path, word)
            told.put("made")
        except LeadlineError as error:
            told.put(error.problem)


def test_writers_at_one_place_never_lose_a_finished_artefact(tmp_path):
    context = multiprocessing.get_context("spawn")
    told, out = context.Queue(), tmp_path / "out"
    make(out, "first")
    words = ("one", "two", "three")
    writers = [context.Process(target=contend, args=(out, word, 15, told)) for word in words]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(word_of(out))  # at any instant there is one, whole
        assert (out / MANIFEST).is_file()
    said = {told.get(timeout=10) for _ in range(15 * len(words))}
    assert said <= {"made", "Another process is writing here."}
    assert "made" in said
    assert seen <= {"first", *words}
    assert names(tmp_path) == ["out"]


def test_a_place_whose_folder_is_shut_is_held_by_the_folder_itself(tmp_path, monkeypatch):
    make(tmp_path / "out", "old")
    monkeypatch.setattr(
        Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "shut"))
    )
    with holding(tmp_path / "out"):
        assert names(tmp_path) == ["out"]


def test_files_of_a_change_that_waits_are_no_strangers(tmp_path):
    make(tmp_path / "out", "old")
    (tmp_path / "out" / "deep" / ".a.pending").touch()
    (tmp_path / "out" / f".{MANIFEST}.12-0123abcd").touch()
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert not list(strangers(tmp_path / "out", "export", manifest))
    (tmp_path / "out" / ".results.json.pending").touch()  # of results that no manifest knows yet
    assert not list(strangers(tmp_path / "out", "run", manifest))
    assert len(list(strangers(tmp_path / "out", "export", manifest))) == 1
    (tmp_path / "out" / ".results.json.pending").unlink()
    shutil.copy(tmp_path / "out" / MANIFEST, tmp_path / "out" / "mine")
    assert [path.name for path in strangers(tmp_path / "out", "export", manifest)] == ["mine"]


def test_what_a_process_that_runs_is_writing_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [f".a.{os.getppid()}-0123abcd", ".a.txt", ".a.12-short", ".tmpAbC123", "deep/.tmpAbC12"]
    left = [f".a.{gone.pid}-0123abcd", f"deep/.b.c.{gone.pid}-0123abcd", f".a.{10**30}-0123abcd",
            "deep/.tmpAbC123"]  # fmt: skip
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in (*kept, *left):
        (tmp_path / "out" / name).touch()
    with changing(tmp_path / "out"):
        assert set(files_of(tmp_path / "out")) == set(kept)


class Writer(threading.Thread):
    """Makes an artefact, and waits in the middle until it is told how to end."""

    def __init__(self, path, word):
        super().__init__(daemon=True)
        self.path, self.word = path, word
        self.inside, self.end, self.well = threading.Event(), threading.Event(), True

    def run(self):
        with (
            contextlib.suppress(KeyError),
            new_directory(self.path, "export", overwrite=True) as out,
        ):
            fill(out, self.word)
            self.inside.set()
            assert self.end.wait(30)
            if not self.well:
                raise KeyError

    def finish(self, *, well):
        self.well = well
        self.end.set()
        self.join(30)
        assert not self.is_alive()


WORDS = st.sampled_from(["one", "two", "three"])


class Writers(RuleBasedStateMachine):
    """Writers at one place, one after the other, at one time, and killed at any step."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.out, self.word, self.writer, self.clean = self.folder / "out", None, None, True

    def teardown(self):
        if self.writer is not None:
            self.writer.finish(well=False)
        shutil.rmtree(self.folder)

    @precondition(lambda self: self.writer is None)
    @rule(word=WORDS, overwrite=st.booleans())
    def make(self, word, overwrite):
        if self.word is not None and not overwrite:
            with pytest.raises(LeadlineError, match="already exists"):
                make(self.out, word, overwrite=False)
            return
        make(self.out, word, overwrite=overwrite)
        self.word, self.clean = word, True

    @precondition(lambda self: self.writer is None)
    @rule(word=WORDS, step=st.integers(0, 40))
    def kill(self, word, step):
        kill_at(step, lambda: make(self.out, word))
        found = word_of(self.out) if self.out.exists() else None
        assert found in (self.word, word)
        self.word, self.clean = found, False

    @precondition(lambda self: self.writer is None)
    @rule(word=WORDS)
    def begin(self, word):
        self.writer = Writer(self.out, word)
        self.writer.start()
        assert self.writer.inside.wait(30)

    @precondition(lambda self: self.writer is not None)
    @rule(well=st.booleans())
    def end(self, well):
        self.writer.finish(well=well)
        self.word = self.writer.word if well else self.word
        self.writer, self.clean = None, True

    @precondition(lambda self: self.writer is not None)
    @rule(word=WORDS)
    def come_second(self, word):
        with pytest.raises(LeadlineError, match="Another process is writing here"):
            make(self.out, word)

    @invariant()
    def what_lies_there_is_whole_and_the_last_that_was_finished(self):
        found = word_of(self.out) if self.out.exists() else None
        assert found == self.word
        if found is not None:
            assert set(files_of(self.out)) == {"deep/a", MANIFEST}
        if self.writer is None and self.clean:
            assert names(self.folder) == ["out"] * (found is not None)


Writers.TestCase.settings = settings(max_examples=15, stateful_step_count=15)
test_any_course_of_writers_loses_nothing = Writers.TestCase


def test_a_scratch_folder_goes_and_takes_what_kills_left_with_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "leadline-x-abcdefgh"
    (left / "deep").mkdir(parents=True)
    (tmp_path / "leadline-x-link").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    with scratch_folder("x") as folder:
        assert not left.exists()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with scratch_folder("x") as second:  # which leaves the first alone
            assert folder.is_dir()
            assert second != folder
        with scratch_folder("y"):
            assert folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leadline-x-link", "mine"]
    assert "Removed what an interrupted command had left here" in caplog.text


def test_a_scratch_folder_goes_after_a_failure_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(FileNotFoundError), scratch_folder("x") as folder:
        shutil.copy(folder / "words", folder / "others")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_a_kill_left_beside_a_finished_artefact_goes_with_the_refusal(tmp_path):
    make(tmp_path / "a", "x")
    lock = tmp_path / ".a.lock"
    lock.touch()
    with pytest.raises(LeadlineError, match="already exists"):
        make(tmp_path / "a", "x", overwrite=False)
    assert not lock.exists()
    with holding(tmp_path / "a"):
        assert lock.exists()
        with pytest.raises(LeadlineError, match="already exists"):
            make(tmp_path / "a", "x", overwrite=False)
        assert lock.exists(), "one that is held stays"


def test_a_new_file_is_one_writers_and_takes_what_kills_left_with_it(tmp_path):
    out, left = tmp_path / "a.csv", tmp_path / ".a.csv.1-0123abcd"
    left.touch()
    with new_file(out, [], lambda _: True) as scratch:
        assert not left.exists()
        scratch.write_text("new")
        ours, context = threading.Event(), contextlib.ExitStack()

        def second():
            with pytest.raises(LeadlineError, match="Another process"):
                context.enter_context(new_file(out, [], lambda _: True))
            ours.set()

        threading.Thread(target=second).start()
        assert ours.wait(30)
        assert not out.exists()
    assert (out.read_text(), stat.S_IMODE(out.stat().st_mode)) == ("new", 0o600)
    (tmp_path / ".a.csv.lock").touch()
    with pytest.raises(LeadlineError, match="already exists"), new_file(out, [], lambda _: True):
        pass
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("name", ["", ".", "..", "/", "n" * 201, "é" * 101])
def test_an_output_without_a_name_of_its_own_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for work in (make, lambda path, _: check_file(path, [], bool, overwrite=True)):
        with pytest.raises(LeadlineError, match="needs a name of its own"):
            work(Path(name), "x")
    assert names(tmp_path) == []


def is_held(path):
    """Whether another thread may not have the artefact."""
    problems = []

    def take():
        try:
            with holding(path):
                pass
        except LeadlineError as error:
            problems.append(error.problem)

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return problems == ["Another process is writing here."]


def test_one_artefact_has_one_lock_under_whatever_name(tmp_path, monkeypatch):
    make(tmp_path / "a", "x")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path / "a" / "deep")
    assert not is_held(tmp_path / "a")
    with holding(tmp_path / "a"):
        for name in ("..", "../../link", "../../a/../a", tmp_path / "a" / "deep" / ".."):
            assert is_held(Path(name)), name
    assert names(tmp_path) == ["a", "link"]
    monkeypatch.chdir(tmp_path / "a")
    with changing(Path()):
        assert is_held(tmp_path / "a")
        assert names(tmp_path) == [".a.lock", "a", "link"]
    assert names(tmp_path) == ["a", "link"]
