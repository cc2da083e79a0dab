"""Labelling end to end against a loopback server: protocols, faults, consent, money, kills."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.teacher_server import TeacherServer, rating_for

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import PEOPLE, PHQ9, TURNS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels, refuse_locked_labels
from leadline.teacher.selection import gold_examples

START = datetime(2025, 3, 1, tzinfo=UTC)
PRICES = {"price_in": 5.0, "price_out": 25.0}


@pytest.fixture
def server():
    with TeacherServer() as running:
        yield running


def make_cohort(path: Path, texts: list[str], *, locked: int = 1, **more: Any) -> Path:
    """One conversation each; even people have a PHQ-9, the last `locked` are locked."""
    people = [f"user-{number:04d}-quokka" for number in range(len(texts))]
    turns, phq9 = [], []
    for number, (person, text) in enumerate(zip(people, texts, strict=True)):
        at = START + timedelta(days=number)
        ask = f"Hello {person}, how was your week?"
        for turn, (role, said) in enumerate([("assistant", ask), ("user", text)]):
            when = at + timedelta(minutes=turn)
            turns.append((person, f"c{number}", turn, role, said, when))
        if number % 2 == 0:
            total = float(number % 28)
            scores = [None] * 9
            phq9.append((person, at + timedelta(hours=1), total, total, *scores, "phq9", False))
    flags = [number >= len(texts) - locked for number in range(len(texts))]
    write_cohort(
        path,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(phq9, schema=PHQ9, orient="row"),
        pl.DataFrame({"person_id": people, "locked": flags}, schema=PEOPLE),
        command="test",
        settings={},
        inputs={},
        **more,
    )
    return path


def texts(count: int) -> list[str]:
    return [f"Day {number} was slow and I slept badly" for number in range(count)]


def config(server: TeacherServer, teacher: str, **more: Any) -> LabelConfig:
    url = server.url if teacher == "anthropic" else server.url + "/v1"
    base: dict[str, Any] = {
        "teacher": teacher,
        "model": "m-1",
        "base_url": url,
        "draws": 2,
        "retries": 3,
        "poll_seconds": 0.01,
        "concurrency": 4,
    }
    return LabelConfig(**{**base, **more})


BOTH = pytest.mark.parametrize("teacher", ["anthropic", "openai"])
MODES = pytest.mark.parametrize("batch", [False, True], ids=["direct", "batch"])


@BOTH
@MODES
def test_labels_every_reading_and_never_a_locked_person(tmp_path, server, teacher, batch):
    cohort = make_cohort(tmp_path / "c", texts(7), locked=2)
    report = label_cohort(cohort, tmp_path / "l", config(server, teacher, batch=batch, **PRICES))
    labels = read_labels(tmp_path / "l")
    assert report["states"]["done"] == labels.height == 10
    assert set(labels["person_id"]) == {f"user-{n:04d}-quokka" for n in range(5)}
    assert sorted(labels["draw"].unique()) == [0, 1]
    assert report["usage"]["input_tokens"] == 10 * 110
    factor = 0.5 if batch else 1.0
    expected = factor * 10 * (110 * 5 + 50 * 25) / 1e6
    assert report["usage"]["spent_usd"] == pytest.approx(expected)
    assert report["usage"]["reserved_usd"] == 0
    assert labels["item_3"].null_count() == 10  # "no evidence" is null, never 0
    assert labels.select(ITEM_COLUMNS).drop("item_3").null_count().sum_horizontal().item() == 0
    assert (labels["quotes"] == labels["quotes_found"]).all()
    assert labels["ancestors"].list.len().sum() == 0
    # the label of a gold reading is as of its PHQ-9, the others as of the last user turn
    first = labels.filter(pl.col("person_id") == "user-0000-quokka")["time"][0]
    assert first == START + timedelta(hours=1)


@BOTH
@MODES
def test_no_request_holds_a_person_id(tmp_path, server, teacher, batch):
    cohort = make_cohort(tmp_path / "c", texts(6))
    examples = gold_examples(read_cohort(cohort), WindowConfig(), ["user-0000-quokka"])
    label_cohort(cohort, tmp_path / "l", config(server, teacher, batch=batch), examples=examples)
    sent = b"\n".join(server.bodies) + json.dumps(server.headers).encode()
    assert b"Day 3 was slow" in sent
    assert b"quokka" not in sent
    assert b"user-000" not in sent
    assert b"2025-03" not in sent
    assert b"[name]" in sent
    ids = re.findall(rb'"custom_id": ?\\?"([^"\\]*)', sent)
    assert bool(ids) == batch
    assert all(re.fullmatch(rb"[a-zA-Z0-9_-]{1,64}", name) for name in ids)


@BOTH
@MODES
def test_refused_invalid_and_truncated_are_counted_and_never_labels(
    tmp_path, server, teacher, batch
):
    words = ["fine REFUSE", "fine INVALID", "fine TRUNCATE", "fine"]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    settings = config(server, teacher, batch=batch, draws=1)
    report = label_cohort(cohort, tmp_path / "l", settings)
    wanted = {"done": 1, "refused": 1, "invalid": 1, "truncated": 1}
    assert {name: n for name, n in report["states"].items() if n} == wanted
    assert read_labels(tmp_path / "l")["person_id"].to_list() == ["user-0003-quokka"]
    assert report["usage"]["output_tokens"] == 4 * 50  # paid for, so counted
    asked = len(server.asked)
    again = label_cohort(cohort, tmp_path / "l", settings)
    assert len(server.asked) == asked
    assert again["states"] == report["states"]
    label_cohort(cohort, tmp_path / "l", config(server, teacher, draws=1, repeat="invalid"))
    assert len(server.asked) == asked + 1


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


@pytest.mark.parametrize("ending", ["expired", "cancelled"])
def test_openai_batch_that_ended_early_gives_what_it_has(tmp_path, server, ending):
    cohort = make_cohort(tmp_path / "c", ["a EXPIRED", *texts(5)], locked=0)
    server.endings = [ending]
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True, draws=1))
    assert report["states"]["done"] == 6
    assert [len(batch["requests"]) for batch in server.batches.values()] == [6, 1]


def test_openai_batch_that_was_refused_whole_says_why_and_makes_no_label(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    server.endings = ["failed"] * 20
    with pytest.raises(LeadlineError, match="invalid_request"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True, draws=1))
    assert not (tmp_path / "l" / "manifest.json").exists()
    assert len(server.batches) <= 4  # it does not go on creating batches


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


def test_batch_created_behind_a_broken_connection_is_found_again(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    server.faults = ["create-drop"]
    report = label_cohort(cohort, tmp_path / "l", config(server, "anthropic", batch=True))
    assert report["states"]["done"] == 12
    assert len(server.batches) == 1
    assert max(Counter(server.asked).values()) == 2  # the two draws, once each


def test_openai_batch_created_behind_a_broken_connection_is_found_again(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    server.faults = ["", "create-drop"]  # the first POST is the upload
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True))
    assert report["states"]["done"] == 12
    assert len(server.batches) == 1


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


# Consent


def test_text_leaves_only_with_consent(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    closed = make_cohort(tmp_path / "closed", texts(3))
    open_ = make_cohort(tmp_path / "open", texts(3), text_may_leave=True)
    away = LabelConfig(teacher="anthropic", model="m", dry_run=True)
    with pytest.raises(LeadlineError, match="may not leave"):
        label_cohort(closed, tmp_path / "l", away)
    for lookalike in ("https://127.0.0.1.example.org/v1", "https://localhost.example.org"):
        with pytest.raises(LeadlineError, match="may not leave"):
            label_cohort(
                closed,
                tmp_path / "l",
                LabelConfig(teacher="openai", model="m", dry_run=True, base_url=lookalike),
            )
    assert not (tmp_path / "l").exists()
    assert label_cohort(open_, tmp_path / "l", away)["requests"] == 6
    local = LabelConfig(teacher="openai", model="m", dry_run=True, base_url="http://127.0.0.1:9/v1")
    assert label_cohort(closed, tmp_path / "l", local)["requests"] == 6


def test_plain_http_to_another_machine_is_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3), text_may_leave=True)
    away = LabelConfig(teacher="openai", model="m", base_url="http://example.org/v1")
    with pytest.raises(LeadlineError, match="encryption"):
        label_cohort(cohort, tmp_path / "l", away)


def test_loopback_ignores_proxy_environment_and_redirects(tmp_path, server, monkeypatch):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    with TeacherServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("OPENAI_BASE_URL", proxy.url)
        monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
        label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
        assert len(server.asked) == 3
        assert proxy.bodies == []
    assert "secret-key" not in json.dumps(server.headers)
    server.faults = ["redirect"]
    report = label_cohort(cohort, tmp_path / "m", config(server, "openai", draws=1))
    assert report["errors"] == {"http 307": 1}


def test_missing_key_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    cohort = make_cohort(tmp_path / "c", texts(3), text_may_leave=True)
    with pytest.raises(LeadlineError, match="ANTHROPIC_API_KEY"):
        label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="anthropic", model="m"))


# Few-shot examples


def test_locked_people_are_refused_as_examples(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(5), locked=1)
    with pytest.raises(LeadlineError, match="locked test people"):
        gold_examples(read_cohort(cohort), WindowConfig(), ["user-0004-quokka"])


def test_an_example_is_an_ancestor_and_never_shown_for_its_own_person(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    people = ["user-0000-quokka", "user-0002-quokka"]
    examples = gold_examples(read_cohort(cohort), WindowConfig(), people)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1), examples=examples)
    labels = read_labels(tmp_path / "l")
    kin = dict(labels.select("person_id", "ancestors").iter_rows())
    assert kin["user-0001-quokka"] == people
    assert kin["user-0000-quokka"] == ["user-0002-quokka"]
    refuse_locked_labels(labels, frozenset())
    with pytest.raises(LeadlineError, match="descend"):
        refuse_locked_labels(labels, frozenset({"user-0002-quokka"}))
    own = labels.with_columns(ancestors=pl.concat_list("person_id"))
    with pytest.raises(LeadlineError, match="their own person"):
        refuse_locked_labels(own, frozenset())


# Money


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


def test_max_usd_needs_prices_and_dry_run_sends_nothing(tmp_path, server):
    with pytest.raises(LeadlineError, match="--max-usd"):
        LabelConfig(teacher="anthropic", model="m", max_usd=5.0)
    cohort = make_cohort(tmp_path / "c", [*texts(5), texts(1)[0]], locked=0)
    plan = label_cohort(cohort, tmp_path / "l", config(server, "openai", dry_run=True, **PRICES))
    assert server.bodies == []
    assert not (tmp_path / "l").exists()
    assert plan["people"] == 6
    assert plan["requests"] == 10  # equal texts are asked once
    assert 0 < plan["expected_usd"] < plan["most_usd"]


def test_two_people_with_equal_texts_share_requests_but_not_labels(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", ["same words here"] * 2, locked=0)
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=3))
    assert len(server.asked) == 3
    assert report["labels"] == 6
    assert report["people"] == 2


def test_a_second_model_adds_labels_and_another_cohort_is_refused(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, model="m-2"))
    counts = read_labels(tmp_path / "l")["model"].value_counts()
    assert dict(counts.iter_rows()) == {"m-1": 4, "m-2": 4}
    other = make_cohort(tmp_path / "d", texts(5), locked=0)
    with pytest.raises(LeadlineError, match="another cohort"):
        label_cohort(other, tmp_path / "l", config(server, "openai"))
    with pytest.raises(LeadlineError, match="another setup of m-1"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", temperature=0.5))
    assert read_labels(tmp_path / "l").height == 8  # what failed has left them as they were
    with pytest.raises(LeadlineError, match="another window"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai"), window=WindowConfig(days=3))


def test_questionnaires_in_the_chat_are_masked_on_request(tmp_path, server):
    words = ["I took the PHQ-9 and scored 17 out of 27, sleep is bad", *texts(2)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    masking = WindowConfig(mask_questionnaire=True)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1), window=masking)
    sent = "\n".join(server.asked)
    assert "sleep is bad" in sent
    assert "17" not in sent


# Kills

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


def test_the_store_never_shows_ids_to_requests(tmp_path, server):
    """The tables that requests are made from hold no person id and no time."""
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai"))
    with sqlite3.connect(tmp_path / "l" / "requests.sqlite") as db:
        rows = db.execute("SELECT * FROM requests").fetchall()
        rows += db.execute("SELECT text FROM systems").fetchall()
    assert "quokka" not in repr(rows)
