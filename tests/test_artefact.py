import hashlib
import json
import os
import stat

import pytest

from leadline import __version__
from leadline.artefact import MANIFEST, new_directory, read_manifest, sha256, write_json
from leadline.artefact import write_manifest as write
from leadline.errors import LeadlineError

ABOUT = {"kind": "run", "command": "train", "settings": {"seed": 1}, "inputs": {"a": "0"}}


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_manifest_is_read_back(tmp_path):
    written = write(tmp_path, **ABOUT, counts={"people": 3})
    assert read_manifest(tmp_path, "run") == written
    assert written["leadline"] == __version__
    assert written["counts"] == {"people": 3}
    assert entries(tmp_path) == [MANIFEST]


def test_others_may_read_what_is_written(tmp_path):
    before = os.umask(0o022)
    try:
        write(tmp_path, **ABOUT)
        assert stat.S_IMODE((tmp_path / MANIFEST).stat().st_mode) == 0o644
        with new_directory(tmp_path / "made") as scratch:
            (scratch / "file").touch()
        assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
    finally:
        os.umask(before)


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


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def change(**values):
    return lambda path: write_json(path, {**json.loads(path.read_text()), **values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "unfinished"),
        (lambda path: path.write_text("{"), "cannot be read as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe{"), "cannot be read as JSON"),
        (lambda path: path.write_text("[1]"), "found 'list'"),
        (change(kind="cohort"), "Expected a run, found 'cohort'"),
        (change(format=99), "has format 99"),
        (change(format=None), "has format None"),
    ],
)
def test_a_manifest_that_is_not_one(tmp_path, damage, message):
    write(tmp_path, **ABOUT)
    damage(tmp_path / MANIFEST)
    with pytest.raises(LeadlineError, match=message) as caught:
        read_manifest(tmp_path, "run")
    assert str(caught.value.file).startswith(str(tmp_path))


def test_an_absent_directory_and_a_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(LeadlineError, match="no run directory here"):
            read_manifest(tmp_path / name, "run")


def test_a_new_directory_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with new_directory(out) as scratch:
        (scratch / "a").write_text("1")
        assert not out.exists()
    assert entries(tmp_path / "deep") == ["out"]
    assert entries(out) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, LeadlineError])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    out = tmp_path / "out"
    with new_directory(out) as scratch:
        write(scratch, **ABOUT)
    before = (out / MANIFEST).read_bytes()
    made = error("no", remedy="none") if error is LeadlineError else error("no")
    with pytest.raises(error), new_directory(out, overwrite=True) as scratch:  # noqa: PT012
        (scratch / "half").touch()
        raise made
    assert entries(tmp_path) == ["out"]
    assert (out / MANIFEST).read_bytes() == before


def test_what_is_in_the_way_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with new_directory(out) as scratch:  # an empty directory is not in the way
        write(scratch, **ABOUT)
    with pytest.raises(LeadlineError, match="already exists"), new_directory(out):
        pass
    with new_directory(out, overwrite=True) as scratch:
        (scratch / "new").touch()
    assert entries(out) == ["new"]
    with (
        pytest.raises(LeadlineError, match="not written by Leadline"),
        new_directory(out, overwrite=True),
    ):
        pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LeadlineError, match="not written by"):  # noqa: SIM117
        with new_directory(tmp_path / "file", overwrite=True):
            pass
    with pytest.raises(LeadlineError, match="cannot be made here"):  # noqa: SIM117
        with new_directory(tmp_path / "file" / "below"):
            pass
    assert (tmp_path / "file").read_text() == "mine"
