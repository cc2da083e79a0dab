import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leadline import __version__
from leadline.artefact import (
    LARGEST_MANIFEST,
    MANIFEST,
    SCRATCH,
    bind,
    check_files,
    locked,
    manifest_of,
    pending_name,
    private,
    read_json,
    read_manifest,
    replacing,
    sha256,
    write_json,
)
from leadline.artefact import write_manifest as write
from leadline.errors import LeadlineError
from leadline.output import check_own
from leadline.runs.verify import verify

ABOUT = {"kind": "run", "command": "train", "settings": {"seed": 1}, "inputs": {"a": "0"}}


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_manifest_is_read_back(tmp_path):
    written = write(tmp_path, **ABOUT, counts={"people": 3})
    assert read_manifest(tmp_path, "run") == written
    assert written["leadline"] == __version__
    assert written["counts"] == {"people": 3}
    assert entries(tmp_path) == [MANIFEST]


@pytest.fixture
def open_umask():
    before = os.umask(0o000)
    yield
    os.umask(before)


def test_a_manifest_closes_the_folder_that_it_completes(tmp_path, open_umask):
    folder = tmp_path / "labels"
    folder.mkdir(mode=0o777)
    (folder / "words").touch()
    write(folder, **ABOUT)
    assert {permissions(folder), permissions(folder / "words")} == {0o700, 0o600}


def test_what_is_made_in_private_is_closed_whoever_makes_it(tmp_path, open_umask):
    with private():
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        subprocess.run(["touch", tmp_path / "child"], check=True)
    (tmp_path / "after").touch()
    modes = {path.name: permissions(path) for path in tmp_path.iterdir()}
    assert modes == {"file": 0o600, "folder": 0o700, "child": 0o600, "after": 0o666}


def test_a_lock_is_closed_too(tmp_path, open_umask):
    with locked(tmp_path / "lock"):
        assert permissions(tmp_path / "lock") == 0o600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_without_nan_and_nothing_stays_behind(tmp_path, value):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", value)
    assert entries(tmp_path) == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", 1)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(tmp_path / "a.json", 2)
    assert entries(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "1\n"


class Killed(BaseException):
    """A process that ends here."""


def killed(*_, **__):
    raise Killed


def replace_by_new(path, **options):
    with replacing(path, **options) as scratch:
        scratch.write_text("new")


@pytest.mark.parametrize("old", ["old", None])
@pytest.mark.parametrize(
    ("owner", "step"),
    [(os, "open"), (Path, "write_text"), (Path, "chmod"), (os, "fsync"), (Path, "replace")],
)
def test_whoever_ends_before_the_rename_leaves_what_was_there(
    tmp_path, monkeypatch, owner, step, old
):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(Killed):
            replace_by_new(path, mode=0o640)
    assert entries(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_text() == old
    replace_by_new(path)
    assert (entries(tmp_path), path.read_text()) == (["file"], "new")


def test_the_file_is_on_the_disk_before_its_name_and_then_the_name(tmp_path, monkeypatch):
    steps, sync, replace = [], os.fsync, Path.replace

    def synced(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        steps.append(f"{kind} {(tmp_path / 'a').exists()}")
        sync(handle)

    def renamed(source, target):
        steps.append(f"rename {source.read_text()}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    replace_by_new(tmp_path / "a")
    assert steps == ["file False", "rename new", "folder True"]
    steps.clear()
    replace_by_new(tmp_path / "b", durable=False)
    assert steps == ["rename new"]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_synced_is_no_error_but_a_broken_disk_is(
    tmp_path, monkeypatch, number, passes
):
    sync = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, "no")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    if passes:
        replace_by_new(tmp_path / "a")
    else:
        with pytest.raises(OSError, match="no"):
            replace_by_new(tmp_path / "a")
    assert (entries(tmp_path), (tmp_path / "a").read_text()) == (["a"], "new")


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_closed_from_the_first_byte_unless_asked_otherwise(tmp_path, open_umask):
    path = tmp_path / "file"
    path.touch(mode=0o644)
    with replacing(path) as scratch:
        assert permissions(scratch) == 0o600
    assert permissions(path) == 0o600, "what an earlier version left open is closed"
    with replacing(path, mode=0o640) as scratch:
        assert permissions(scratch) == 0o600
    assert permissions(path) == 0o640


def test_a_scratch_file_lies_where_it_is_wanted_and_has_a_name_of_its_own(tmp_path):
    aside = tmp_path / "aside"
    aside.mkdir()
    with (
        replacing(tmp_path / "a.b", folder=aside) as one,
        replacing(tmp_path / "a.b", folder=aside) as two,
    ):
        assert entries(tmp_path) == ["aside"]
        assert len({one, two}) == 2
        assert all(re.fullmatch(SCRATCH, name) for name in entries(aside))
        assert not any(re.fullmatch(SCRATCH, name) for name in ("a.b", ".a.b", ".notes.txt"))
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a.b").read_text() == "one", "whose block ends last"
    assert entries(aside) == []


WRITER = """
import sys
from pathlib import Path
from leadline.artefact import replacing
for _ in range(150):
    with replacing(Path(sys.argv[1]), durable=False) as scratch:
        scratch.write_text(sys.argv[2] * 50_000)
"""


def test_two_processes_that_replace_one_file_leave_it_whole_at_any_time(tmp_path):
    path = tmp_path / "file"
    path.write_text("a" * 50_000)
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "bc"]
    read = set()
    while any(writer.poll() is None for writer in writers):
        text = path.read_text()
        assert text == text[0] * 50_000
        read.add(text[0])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read & {"b", "c"}
    assert entries(tmp_path) == ["file"]


HOLDER = """
import sys
from pathlib import Path
from leadline.artefact import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

WAITER = """
import sys
from pathlib import Path
from leadline.artefact import locked
print("waits", flush=True)
with locked(Path(sys.argv[1])):
    print("held", flush=True)
"""


def start(code, path):
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_gets_the_error_it_was_given_until_the_first_ends(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text("notes")
    with start(HOLDER, lock) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LeadlineError, match=r"Someone is here\.\n.*Wait\.") as caught,
            locked(lock, "Someone is here.", "Wait.", file=tmp_path / "made"),
        ):
            raise AssertionError("two hold one lock")
        assert caught.value.file == tmp_path / "made"
        holder.kill()
    with locked(lock, "Someone is here.", "Wait."):
        pass
    assert lock.read_text() == "notes"


def test_the_time_of_the_file_says_when_it_was_locked(tmp_path):
    lock = tmp_path / "lock"
    lock.touch()
    os.utime(lock, (1, 1))
    with locked(lock):
        assert time.time() - lock.stat().st_mtime < 60


def test_without_an_error_to_give_the_second_waits(tmp_path):
    lock = tmp_path / "lock"
    with locked(lock, "Someone is here.", "Wait."):
        waiter = start(WAITER, lock)
        assert waiter.stdout.readline() == "waits\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(0.3)
    assert waiter.communicate(timeout=30)[0] == "held\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_frees_the_lock(tmp_path, error):
    for _ in range(2):
        with pytest.raises(error), locked(tmp_path / "lock", "Someone is here.", "Wait."):
            raise error


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(LeadlineError, match=r"can be locked here.*No locks available"),
        locked(tmp_path / "lock", "Someone is here.", "Wait."),
    ):
        pass


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


DAMAGE = {
    "absent": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "not JSON": lambda path: path.write_text("format = 3"),
    "not text": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "a list": lambda path: path.write_text("[3]"),
    "without a format": lambda path: path.write_text('{"a": 1}'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_json_that_is_not_as_it_was_written_gives_the_error_that_was_named(tmp_path, damage):
    path = tmp_path / "a.json"
    write_json(path, {"format": 3, "a": 1})
    assert read_json(path, format=3, remedy="Wait.") == {"format": 3, "a": 1}
    damage(path)
    with pytest.raises(LeadlineError, match=r"is absent, or not the JSON.*\n.*Wait\.") as caught:
        read_json(path, format=3, remedy="Wait.")
    assert caught.value.file == path
    with pytest.raises(LeadlineError, match=r"These are no notes\."):
        read_json(path, format=3, remedy="Wait.", problem="These are no notes.")


NO_FORMAT = "no format of Leadline"


@pytest.mark.parametrize(
    ("version", "shown"),
    [(4, "format 4"), (None, NO_FORMAT), ("3", NO_FORMAT), ([3], NO_FORMAT), (True, NO_FORMAT),
     (10**400, NO_FORMAT), ({"ann": "so tired"}, NO_FORMAT)],
)  # fmt: skip
def test_json_of_another_format_names_both_and_who_wrote_it(tmp_path, version, shown):
    path = tmp_path / "a.json"
    write_json(path, {"format": version})
    with pytest.raises(LeadlineError) as caught:
        read_json(path, format=3, remedy="Wait.", what="note")
    assert caught.value.problem == f"This note has {shown}; this version reads 3."
    write_json(path, {"format": version, "leadline": "9.9"})
    with pytest.raises(LeadlineError, match=r"It was written by Leadline 9\.9\."):
        read_json(path, format=3, remedy="Wait.", what="note")


def change(**values):
    return lambda path: write_json(path, {**json.loads(path.read_text()), **values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "unfinished"),
        (lambda path: path.write_text("{"), "cannot be read as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe{"), "cannot be read as JSON"),
        (lambda path: path.write_text("[1]"), "cannot be read as JSON"),
        (change(kind="cohort"), "Expected a run, found 'cohort'"),
        (change(format=99), "has format 99"),
        (change(format=None), "has no format of Leadline"),
        (change(kind=["run"]), "found something that Leadline does not know"),
        (change(kind={}), "found something that Leadline does not know"),
    ],
)
def test_a_manifest_that_is_not_one(tmp_path, damage, message):
    write(tmp_path, **ABOUT)
    damage(tmp_path / MANIFEST)
    with pytest.raises(LeadlineError, match=message) as caught:
        read_manifest(tmp_path, "run")
    assert str(caught.value.file).startswith(str(tmp_path))


WORDS = "Kanarienvogelwort"


@pytest.mark.parametrize("value", [WORDS, [WORDS], {WORDS: 1}, f"1.0 {WORDS}"])
@pytest.mark.parametrize("entry", ["kind", "format", "leadline"])
def test_no_value_of_a_manifest_is_quoted(tmp_path, entry, value):
    write(tmp_path, **ABOUT)
    change(**{"format": 2, entry: value})(tmp_path / MANIFEST)
    for read in (read_manifest, check_own, lambda path, _: verify(path)):
        with pytest.raises(LeadlineError) as caught:
            read(tmp_path, "cohort")
        assert WORDS not in str(caught.value)


def test_an_absent_directory_and_a_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(LeadlineError, match="no run directory here"):
            read_manifest(tmp_path / name, "run")


def waiting(folder, name, content):
    pending = folder / pending_name(name)
    pending.parent.mkdir(exist_ok=True)
    pending.write_text(content)
    return hashlib.sha256(content.encode()).hexdigest()


def test_files_are_bound_to_a_finished_artefact_and_a_reader_may_be_first(tmp_path):
    manifest = write(tmp_path, kind="run", command="x", settings={}, inputs={})
    for _ in range(2):  # the second time with what is there already
        waiting(tmp_path, "a.json", "1")
        waiting(tmp_path, "deep/b.json", "2")
        manifest = read_manifest(tmp_path, "run")  # which puts equal files in place
        bind(tmp_path, manifest, ["a.json", "deep/b.json"])
        manifest = read_manifest(tmp_path, "run")
        check_files(tmp_path, manifest, ["a.json", "deep/b.json"], remedy="none")
        assert (tmp_path / "deep" / "b.json").read_text() == "2"
        assert not list(tmp_path.rglob("*.pending"))


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_manifest_is_followed_nowhere_outside(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    digest = waiting(tmp_path, "outside", "forged")
    (tmp_path / "outside").write_text("mine")
    write(folder, kind="run", command="x", settings={}, inputs={}, files={name: digest})
    manifest = read_manifest(folder, "run")
    assert (tmp_path / "outside").read_text() == "mine"
    with pytest.raises(LeadlineError, match="outside its directory"):
        check_files(folder, manifest, [name], remedy="none")


@pytest.mark.parametrize("files", [[], "all", None, 3])
def test_a_manifest_whose_files_are_no_table_binds_nothing(tmp_path, files):
    write(tmp_path, kind="run", command="x", settings={}, inputs={}, files=files)
    manifest = read_manifest(tmp_path, "run")
    with pytest.raises(LeadlineError, match="has no hash"):
        check_files(tmp_path, manifest, ["a.json"], remedy="none")


def test_a_manifest_that_is_a_pipe_a_device_or_too_large_is_not_read(tmp_path):
    kinds = {
        "pipe": os.mkfifo,
        "device": lambda file: file.symlink_to("/dev/zero"),
        "large": lambda file: (file.touch(), os.truncate(file, LARGEST_MANIFEST + 1)),
        "folder": os.mkdir,
    }
    for name, make in kinds.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / MANIFEST)
        assert manifest_of(tmp_path / name) is None


MISSHAPEN = {
    "settings": [None, [], "canary"],
    "inputs": [None, [], {"turns": 1}, {"turns": None}],
    "counts": [None, "", {"turns": "canary"}, {"turns": -1}, {"turns": 1.5}, {"turns": True}],
    "simulated": [None, "canary", 1],
    "command": [None, {}],
    "text_may_leave": ["canary"],
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_a_manifest_of_another_shape_is_refused_and_not_quoted(tmp_path, name):
    write(tmp_path, kind="cohort", command="x", settings={}, inputs={}, counts={}, files={})
    file = tmp_path / MANIFEST
    whole = json.loads(file.read_text())
    read_manifest(tmp_path, "cohort")
    for value in MISSHAPEN[name]:
        file.write_text(json.dumps({**whole, name: value}))
        with pytest.raises(LeadlineError, match=f"The entry {name} of the manifest") as refused:
            read_manifest(tmp_path, "cohort")
        assert "canary" not in str(refused.value)
    if name in ("settings", "inputs", "counts"):
        file.write_text(json.dumps({other: whole[other] for other in whole if other != name}))
        with pytest.raises(LeadlineError, match=f"The entry {name} of the manifest"):
            read_manifest(tmp_path, "cohort")


def test_half_a_character_in_a_file_of_leadlines_is_refused(tmp_path):
    write(tmp_path, kind="cohort", command="x", settings={}, inputs={}, counts={})
    file = tmp_path / MANIFEST
    text = file.read_text()
    for half in ("\\ud800", "\\uDFFF", "\\uD83D \\uDE00"):
        file.write_text(text.replace('"x"', f'"{half}"'))
        with pytest.raises(LeadlineError, match="cannot be read"):
            read_manifest(tmp_path, "cohort")
        assert manifest_of(tmp_path) is None
    file.write_text(text.replace('"x"', '"\\ud83d\\ude00"'))
    assert read_manifest(tmp_path, "cohort")["command"] == "😀"
