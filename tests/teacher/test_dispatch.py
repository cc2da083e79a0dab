"""Requests on their way: refusals, faults, batches, money and kills lose and repeat nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.teacher_cohort import BOTH, PRICES, config, make_cohort, texts
from tests.support.teacher_server import rating_for

from leadline.errors import LeadlineError
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels


@BOTH
def test_batch_entries_that_errored_expired_or_were_canceled(tmp_path, server, teacher):
    words = ["a ERRORED", "b EXPIRED", "c CANCELED", *texts(9)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    settings = config(server, teacher, batch=True, draws=1)
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert report["states"]["done"] == 11  # expired and canceled were sent again
    assert report["states"]["failed"] == 1
    assert list(report["errors"].values()) == [1]
    assert len(server.batches) == 2


@BOTH
def test_batch_entries_that_were_overloaded_or_left_out_are_not_lost(tmp_path, server, teacher):
    words = ["a OVERLOADED", "b MISSING", *texts(6)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    settings = config(server, teacher, batch=True, draws=1)
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert (report["states"]["done"], report["states"]["failed"]) == (7, 1)
    assert report["errors"] == {"no result": 1}  # that one waits for the next run
    assert label_cohort(cohort, tmp_path / "l", settings)["states"]["done"] == 8
    assert [len(batch["requests"]) for batch in server.batches.values()] == [8, 1, 1]
    assert read_labels(tmp_path / "l").height == 8


@BOTH
def test_results_out_of_order_and_cut_off_find_their_own_person(tmp_path, server, teacher):
    cohort = make_cohort(tmp_path / "c", texts(12), locked=0)
    # creation (an upload before it for OpenAI), one poll, then results that break off
    server.faults = ["", "", "cut"] if teacher == "anthropic" else ["", "", "", "", "cut"]
    report = label_cohort(cohort, tmp_path / "l", config(server, teacher, batch=True, draws=1))
    assert server.faults == []
    assert report["states"]["done"] == 12
    assert len(server.batches) == 1
    assert report["usage"]["input_tokens"] == 12 * 110
    own = {text: rating_for(text)["total"] for text in server.asked}
    for person, total in read_labels(tmp_path / "l").select("person_id", "total").iter_rows():
        number = int(person.split("-")[1])
        assert total == next(own[text] for text in own if f"Day {number} was" in text)


@BOTH
def test_rate_limits_overload_and_broken_connections_are_retried(tmp_path, server, teacher):
    cohort = make_cohort(tmp_path / "c", texts(5), locked=0)
    server.faults = ["429", "529", "drop", "half", "429"]
    report = label_cohort(cohort, tmp_path / "l", config(server, teacher, draws=1))
    assert server.faults == []
    assert report["states"]["done"] == 5
    assert len(server.asked) == 5


@BOTH
def test_replies_that_are_not_the_protocol_fail_and_are_asked_again_later(
    tmp_path, server, teacher
):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    settings = config(server, teacher, draws=1, concurrency=1)
    server.faults = ["html", "empty"]
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert (report["states"]["failed"], report["states"]["done"]) == (2, 2)
    assert label_cohort(cohort, tmp_path / "l", settings)["states"]["done"] == 4


def test_open_batches_are_collected_before_direct_requests(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    server.faults = ["", "", "drop", "drop", "drop", "drop", "drop"]  # after the creation
    settings = config(server, "openai", draws=1, batch=True, retries=0)
    with pytest.raises(LeadlineError, match="broke several times"):
        label_cohort(cohort, tmp_path / "l", settings)
    with pytest.raises(LeadlineError, match="left requests in batches"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
    assert label_cohort(cohort, tmp_path / "l", settings)["states"]["done"] == 4
    assert len(server.batches) == 1


@BOTH
def test_batch_survives_faults_at_every_step(tmp_path, server, teacher):
    cohort = make_cohort(tmp_path / "c", texts(8), locked=0)
    server.faults = ["429", "drop", "529", "drop", "half"]
    server.polls_until_end = 2
    report = label_cohort(cohort, tmp_path / "l", config(server, teacher, draws=1, batch=True))
    assert server.faults == []
    assert report["states"]["done"] == 8
    assert max(Counter(server.asked).values()) == 1


def test_foreign_batch_of_equal_size_is_not_taken_for_ours(tmp_path, server):
    theirs = make_cohort(tmp_path / "t", [f"Their day {n}" for n in range(6)], locked=0)
    ours = make_cohort(tmp_path / "c", texts(6), locked=0)
    settings = config(server, "anthropic", batch=True)
    label_cohort(theirs, tmp_path / "tl", settings)
    server.faults = ["drop"]  # our creation never reached the server
    report = label_cohort(ours, tmp_path / "l", settings)
    assert report["states"]["done"] == 12
    assert len(server.batches) == 2
    answers = read_labels(tmp_path / "l")
    assert answers["quotes_found"].sum() == answers["quotes"].sum() > 0


@pytest.mark.parametrize(("status", "word"), [("401", "key"), ("404", "model")])
def test_a_refused_key_stops_at_once_and_the_run_continues_later(tmp_path, server, status, word):
    cohort = make_cohort(tmp_path / "c", texts(30), locked=0)
    settings = config(server, "anthropic", draws=1)
    server.faults = [status] * 4
    with pytest.raises(LeadlineError, match=f"{word}.*HTTP {status}"):
        label_cohort(cohort, tmp_path / "l", settings)
    assert len(server.bodies) <= 8
    assert not (tmp_path / "l" / "manifest.json").exists()
    server.faults = []
    assert label_cohort(cohort, tmp_path / "l", settings)["states"]["done"] == 30


def test_a_dead_server_stops_after_failures_in_a_row(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(60), locked=0)
    settings = config(server, "openai", draws=1, retries=0)
    server.faults = ["529"] * 60
    with pytest.raises(LeadlineError, match=r"times in a row \(http 529\)"):
        label_cohort(cohort, tmp_path / "l", settings)
    assert 20 <= len(server.bodies) <= 28
    server.faults = []
    assert label_cohort(cohort, tmp_path / "l", settings)["states"]["done"] == 60


def test_max_usd_is_never_passed_and_the_run_continues_with_more(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(40), locked=0)
    settings = {"draws": 1, "max_tokens": 500, **PRICES}
    limit = 0.07  # two or three times what one request could cost at most
    report = label_cohort(
        cohort, tmp_path / "l", config(server, "openai", max_usd=limit, **settings)
    )
    assert report["stopped"] == "max-usd"
    assert 1 <= report["states"]["done"] < 40
    assert report["usage"]["spent_usd"] <= limit
    done = len(server.asked)
    report = label_cohort(
        cohort, tmp_path / "l", config(server, "openai", max_usd=10.0, **settings)
    )
    assert report["stopped"] == "complete"
    assert len(server.asked) == 40 > done
    assert report["usage"]["spent_usd"] == pytest.approx(40 * (110 * 5 + 50 * 25) / 1e6)


def test_batches_keep_within_max_usd(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(40), locked=0)
    settings = {"draws": 1, "max_tokens": 500, "batch": True, **PRICES}
    report = label_cohort(
        cohort, tmp_path / "l", config(server, "anthropic", max_usd=0.035, **settings)
    )
    assert report["stopped"] == "max-usd"
    assert len(server.batches) >= 2  # what the first did not use pays for the next
    assert report["usage"]["spent_usd"] <= 0.035


CHILD = """
import json, sys
from pathlib import Path
from leadline.teacher.label import LabelConfig, label_cohort
label_cohort(Path(sys.argv[1]), Path(sys.argv[2]), LabelConfig(**json.loads(sys.argv[3])))
"""


def kill_repeatedly(cohort: Path, out: Path, settings: dict[str, Any], waits: list[float]) -> int:
    """Start the labelling, SIGKILL it `wait` seconds after the store appears; count the kills."""
    killed = 0
    for pause in waits:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(cohort), str(out), json.dumps(settings)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.DEVNULL,
        )
        lock = out / "requests.sqlite.lock"
        before = lock.stat().st_mtime_ns if lock.exists() else 0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and child.poll() is None:
            if lock.exists() and lock.stat().st_mtime_ns > before:
                break
            time.sleep(0.002)
        time.sleep(pause)
        if child.poll() is None:
            killed += 1
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) in (-signal.SIGKILL, 0)
    return killed


def as_json(settings: LabelConfig) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_killed_direct_run_asks_nothing_twice(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(150), locked=0)
    settings = config(server, "openai", draws=1, **PRICES)
    server.delay = 0.02
    out = tmp_path / "l"
    killed = kill_repeatedly(cohort, out, as_json(settings), [0.05, 0.2, 0.35])
    assert killed == 3
    server.delay = 0.0
    report = label_cohort(cohort, out, settings)
    lost = report["recovered"]["lost"]
    assert lost <= 3 * settings.concurrency
    assert report["states"]["done"] == 150 - lost
    assert report["states"]["sent"] == lost  # may have been paid: held, and counted as money
    assert max(Counter(server.asked).values()) == 1
    assert report["usage"]["input_tokens"] == 110 * report["states"]["done"]
    assert (report["usage"]["reserved_usd"] > 0) == (lost > 0)
    again = label_cohort(cohort, out, config(server, "openai", draws=1, resend_lost=True, **PRICES))
    assert again["states"]["done"] == 150
    assert (again["usage"]["at_risk_usd"] > 0) == (lost > 0)
    assert again["usage"]["input_tokens"] == 110 * 150


@BOTH
def test_killed_batch_run_pays_nothing_twice_and_loses_nothing(tmp_path, server, teacher):
    cohort = make_cohort(tmp_path / "c", texts(60), locked=0)
    settings = config(server, teacher, draws=1, batch=True, batch_size=25, **PRICES)
    server.polls_until_end = 25
    out = tmp_path / "l"
    kill_repeatedly(cohort, out, as_json(settings), [0.0, 0.15, 0.3])
    server.polls_until_end = 1
    for batch in server.batches.values():
        batch["ends"] = 1
    report = label_cohort(cohort, out, settings)
    assert report["states"]["done"] == 60
    assert max(Counter(server.asked).values()) == 1
    assert report["usage"]["input_tokens"] == 110 * 60
    assert report["usage"]["at_risk_usd"] == 0
