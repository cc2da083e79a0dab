"""What a failure that nobody foresaw may say: its type and its places, never its message."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import warnings

import numpy as np
import polars as pl
import pytest
from tests.support import ROOT

from leadline.cli import failure
from leadline.cohort import inspect
from leadline.errors import LeadlineWarning

CANARY = "kanarienvogel so hopeless"


def fail(error):
    def inner(*_, **__):
        raise error

    return inner


class PanicException(BaseException):
    """What a panic of a Rust library is: no Exception."""


FAILURES = {
    "value": ValueError(CANARY),
    "key": KeyError(CANARY),
    "unicode": UnicodeEncodeError("utf-8", CANARY, 0, 1, CANARY),
    "system": OSError(9, CANARY, f"/tmp/{CANARY}"),
    "numberless": OSError(CANARY),
    "json": json.JSONDecodeError(CANARY, CANARY, 0),
    "polars": pl.exceptions.ComputeError(CANARY),
    "group": ExceptionGroup(CANARY, [ValueError(CANARY)]),
    "panic": PanicException(CANARY),
    "memory": MemoryError(CANARY),
    "recursion": RecursionError(CANARY),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_tells_type_and_place_and_no_word(leadline, monkeypatch, simulated_path, case):
    monkeypatch.setattr(inspect, "inspect_cohort", fail(FAILURES[case]))
    code, out, err = leadline("inspect", simulated_path)
    assert (code, out) == (failure.EXIT_CODE, "")
    assert CANARY not in err
    assert "kanarienvogel" not in err
    assert "Traceback" not in err
    assert type(FAILURES[case]).__qualname__ in err
    assert "test_failure.py:" in err
    assert "leadline/cli/data.py:" in err
    assert "What to do: " in err
    assert "--traceback" in err


def test_the_systems_own_words_are_told(leadline, monkeypatch, simulated_path):
    monkeypatch.setattr(inspect, "inspect_cohort", fail(OSError(9, CANARY, CANARY)))
    assert "Bad file descriptor" in leadline("inspect", simulated_path)[2]


@pytest.mark.parametrize("number", failure.REFUSALS)
def test_what_the_system_refuses_is_one_message(leadline, monkeypatch, simulated_path, number):
    for place in (f"{simulated_path}/{CANARY}", f"{simulated_path}", f"/tmp/{CANARY}", None):
        monkeypatch.setattr(inspect, "inspect_cohort", fail(OSError(number, CANARY, place)))
        code, out, err = leadline("inspect", simulated_path)
        assert (code, out) == (2, "")
        assert err.count("\n") == 2
        assert os.strerror(number) in err
        assert failure.REFUSALS[number] in err
        assert (f"{simulated_path}: " in err) == (str(simulated_path) in str(place))
        assert CANARY not in err
    assert CANARY in leadline("inspect", simulated_path, "--traceback")[2]


@pytest.mark.parametrize("kind", [OSError, pl.exceptions.ComputeError])
def test_what_the_system_refuses_to_polars_is_one_message(
    leadline, monkeypatch, simulated_path, kind
):
    error = kind(f"{CANARY}: No space left on device (os error 28)")
    monkeypatch.setattr(inspect, "inspect_cohort", fail(error))
    code, _, err = leadline("inspect", simulated_path)
    assert (code, "No space left on device" in err, CANARY in err) == (2, True, False)


@pytest.mark.parametrize("sink", ["/dev/full", "a pipe that nobody reads"])
def test_an_output_that_takes_nothing_is_one_message(simulated_path, sink):
    command = [sys.executable, "-m", "leadline", "inspect", str(simulated_path), "--json"]
    if sink == "/dev/full":
        with open(sink, "w") as stream:  # noqa: PTH123
            done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True)
    else:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
    if sink == "/dev/full":
        assert done.returncode == 2
        assert done.stderr.count("\n") == 2
        assert "What to do: Free space" in done.stderr
    else:  # as head ends what it has read enough of
        assert (done.returncode, done.stderr) == (1, "")


def full_database():
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 1")
    connection.execute(f"CREATE TABLE t ('{CANARY}')")


def test_a_full_disk_under_sqlite_is_one_message(leadline, monkeypatch, simulated_path):
    monkeypatch.setattr(inspect, "inspect_cohort", lambda *_, **__: full_database())
    code, _, err = leadline("inspect", simulated_path)
    assert (code, "No space left on device" in err, CANARY in err) == (2, True, False)


LONG = "n" * 300


@pytest.mark.parametrize("words", [
    ("inspect", LONG), ("verify", LONG), ("import", LONG, "--out", "{tmp}/x"),
    ("train", LONG, "--out", "{tmp}/x"), ("report", LONG), ("simulate", "--out", LONG),
    ("label", "{cohort}", "--out", LONG), ("prior", "--out", "{tmp}/x", "--reader", LONG),
    ("monitor", "doctor", "--store", LONG), ("lock", LONG), ("evaluate", LONG),
])  # fmt: skip
def test_a_name_that_is_too_long_is_one_message(leadline, simulated_path, tmp_path, words):
    places = {"tmp": tmp_path, "cohort": simulated_path}
    code, _, err = leadline(*(word.format(**places) for word in words))
    assert code == 2
    assert "What to do: " in err
    assert list(tmp_path.iterdir()) == []


def test_the_cause_is_told_by_type_and_place(leadline, monkeypatch, simulated_path):
    def inner(*_, **__):
        try:
            np.asarray([CANARY]).astype(float)
        except ValueError as error:
            raise RuntimeError(CANARY) from error

    monkeypatch.setattr(inspect, "inspect_cohort", inner)
    err = leadline("inspect", simulated_path)[2]
    assert "RuntimeError" in err
    assert "after ValueError at " in err
    assert CANARY not in err


@pytest.mark.parametrize("place", ["before", "behind", "variable"])
def test_the_traceback_comes_on_request_under_a_warning(
    leadline, monkeypatch, simulated_path, place
):
    monkeypatch.setattr(inspect, "inspect_cohort", fail(ValueError(CANARY)))
    arguments = ["inspect", simulated_path]
    if place == "variable":
        monkeypatch.setenv(failure.VARIABLE, "1")
    else:
        arguments.insert(0 if place == "before" else 1, "--traceback")
    code, _, err = leadline(*arguments)
    assert code == failure.EXIT_CODE
    assert err.startswith("WARNING: what follows may quote transcripts")
    assert f"ValueError: {CANARY}" in err
    assert "Traceback (most recent call last)" in err


def test_a_variable_that_says_no_is_no_request(leadline, monkeypatch, simulated_path):
    monkeypatch.setattr(inspect, "inspect_cohort", fail(ValueError(CANARY)))
    monkeypatch.setenv(failure.VARIABLE, "0")
    assert CANARY not in leadline("inspect", simulated_path)[2]


def test_what_is_put_right_after_a_kill_is_said(tmp_path):
    left = tmp_path / ".c.partial-0123abcd"
    left.mkdir()
    (tmp_path / "said.csv").write_text("person_id,role,text\np,user,low\n")
    command = (sys.executable, "-m", "leadline", "import", "said.csv", "--out", "c")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"Removed what an interrupted command had left here: {left.name}\n" in done.stderr
    assert not left.exists()


class Broken:
    def __del__(self):
        raise ValueError(CANARY)


def talk(*_, **__):
    thread = threading.Thread(target=fail(ValueError(CANARY)))
    thread.start()
    thread.join()
    Broken()
    warnings.warn(CANARY, stacklevel=1)
    warnings.warn("ours", LeadlineWarning, stacklevel=1)
    logging.getLogger("another").warning("%s", CANARY)
    raise SystemExit(0)


TALK = """
import sys
from tests.cli.test_failure import talk
from leadline.cohort import inspect
inspect.inspect_cohort = talk
from leadline.cli.app import main
main()
"""


@pytest.mark.parametrize("full", [False, True])
def test_threads_warnings_and_logs_tell_no_word_either(simulated_path, full):
    flags = ["--traceback"] if full else []
    done = subprocess.run(
        [sys.executable, "-c", TALK, *flags, "inspect", simulated_path],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (CANARY in done.stdout + done.stderr) == full
    assert "ours" in done.stderr
    if not full:
        assert "In a thread: Leadline failed: ValueError" in done.stderr
        assert "While cleaning up: Leadline failed: ValueError" in done.stderr
        assert "UserWarning at test_failure.py:" in done.stderr
        assert "WARNING of another (test_failure.py:" in done.stderr


def test_the_streams_are_as_before_afterwards():
    before = (threading.excepthook, sys.unraisablehook, warnings.showwarning, logging.lastResort)
    with failure.quiet_streams() as restore:
        assert threading.excepthook is not before[0]
        restore()
        assert threading.excepthook is before[0]
    assert before == (
        threading.excepthook, sys.unraisablehook, warnings.showwarning, logging.lastResort,
    )  # fmt: skip


def test_a_place_names_no_folder_of_the_user():
    error = None
    try:
        exec(compile("1 / 0", "/home/anna-schmidt/notes.py", "exec"), {})
    except ZeroDivisionError as caught:
        error = caught
    told = failure.describe(error)
    assert "notes.py:1" in told
    assert "anna" not in told
