"""The verbs of monitoring as they are typed."""

import json

import polars as pl
import pytest

from leadline.cli.monitor import STORE_VARIABLE, step_lines


@pytest.fixture
def store(leadline, tmp_path, monitor_run):
    """The flags of a store that was just made."""
    flags = ("--store", tmp_path / "s.sqlite", "--key-file", tmp_path / "s.key")
    code, out, err = leadline("monitor", "init", *flags, "--run", monitor_run)
    assert code == 0, err
    assert "defaults (fewer than 50 people with two PHQ-9s)" in out
    assert "Keep the key" in err
    return flags


def test_the_course_from_a_cohort_to_the_asks(leadline, store, spread_cohort, tmp_path):
    code, out, err = leadline("monitor", "load", spread_cohort, *store, "--consent", "simulated")
    assert code == 0, err
    assert "people stored: 6" in out
    code, out, _ = leadline("monitor", "load", spread_cohort, *store, "--consent", "simulated",
                            "--json")  # fmt: skip
    assert set(json.loads(out)) == {"people known", "messages known", "PHQ-9s known"}
    code, _, err = leadline("monitor", "score", *store, "--states", tmp_path / "st", "--once")
    assert code == 0, err
    assert "6 readings of people" in err
    code, out, err = leadline("monitor", "nightly", *store, "--date", "2026-03-01")
    assert code == 0, err
    assert out.splitlines()[0].startswith("tidy: asks ended 0")
    code, again, _ = leadline("monitor", "nightly", *store, "--date", "2026-03-01", "--json")
    assert json.loads(again)["move on"]["people"] == 6
    code, out, _ = leadline("monitor", "doctor", *store, "--json")
    facts = json.loads(out)
    assert (facts["people"], facts["messages_unread"]) == (6, 0)
    code, out, _ = leadline("monitor", "doctor", *store)
    assert "people unread: 0" in out
    name = pl.read_parquet(spread_cohort / "turns.parquet")["person_id"][0]
    code, out, _ = leadline("monitor", "forget", name, *store)
    assert out.startswith("Would delete: ")
    code, out, _ = leadline("monitor", "forget", name, *store, "--yes", "--json")
    assert json.loads(out)["message"] > 0
    code, _, err = leadline("monitor", "forget", name, *store, "--yes")
    assert code == 2
    assert name not in err


def test_another_run_is_read_beside_and_then_shown(
    leadline, store, spread_cohort, monitor_run, simulated, sentence_reader, tmp_path
):
    from tests.support.monitored import tiny_run

    names = simulated.phq9["person_id"].unique(maintain_order=True).to_list()
    other = tiny_run(tmp_path / "other", simulated, sentence_reader, names[2:14])
    assert leadline("monitor", "load", spread_cohort, *store, "--consent", "simulated")[0] == 0
    code, out, err = leadline("monitor", "rescore", *store, "--run", other, "--json")
    assert code == 0, err
    counts = json.loads(out)
    assert counts["people"] == 6
    code, out, _ = leadline("monitor", "rescore", *store, "--run", other)
    assert f"leadline monitor promote {counts['model']}" in out
    code, _, err = leadline("monitor", "promote", counts["model"], *store)
    assert code == 0, err
    _, out, _ = leadline("monitor", "doctor", *store, "--json")
    assert f"{counts['model']} (live)" in json.loads(out)["models"]
    code, _, err = leadline("monitor", "promote", "no-such-model", *store)
    assert code == 2
    assert "What to do" in err


def test_a_token_is_shown_once(leadline, store):
    _, out, err = leadline("monitor", "token", *store, "--name", "app", "--scope", "ingest")
    token = out.strip()
    assert token.startswith("ll_")
    assert "not shown again" in err
    _, out, _ = leadline("monitor", "token", *store, "--list", "--json")
    (row,) = json.loads(out)
    assert token.split("_")[2] not in out
    _, out, _ = leadline("monitor", "token", *store, "--list")
    assert row["id"] in out
    assert leadline("monitor", "token", *store, "--revoke", row["id"])[0] == 0
    code, _, err = leadline("monitor", "token", *store, "--revoke", row["id"])
    assert code == 2
    _, out, _ = leadline("monitor", "token", *store, "--name", "page", "--scope", "care",
                         "--team", "north", "--json")  # fmt: skip
    assert json.loads(out)["token"].startswith("ll_")
    code, _, err = leadline("monitor", "token", *store, "--name", "x", "--scope", "all")
    assert code == 2
    assert "ingest" in err


def test_the_key_changes(leadline, store, tmp_path):
    code, _, err = leadline("monitor", "rekey", *store, "--new-key-file", tmp_path / "new.key")
    assert code == 0, err
    code, _, err = leadline("monitor", "doctor", *store)
    assert code == 2
    assert "Traceback" not in err
    new = (*store[:3], tmp_path / "new.key")
    assert leadline("monitor", "doctor", *new)[0] == 0


@pytest.mark.parametrize("verb", [("doctor",), ("nightly",), ("promote", "m"), ("token", "--list"),
                                  ("serve",), ("score", "--states", "s")])  # fmt: skip
def test_a_store_that_is_not_said_is_one_message(leadline, verb, monkeypatch):
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    code, out, err = leadline("monitor", *verb)
    assert (code, out) == (2, "")
    assert "--store" in err
    assert STORE_VARIABLE in err
    assert "Traceback" not in err


def test_the_store_may_be_named_in_the_environment(leadline, store, monkeypatch):
    monkeypatch.setenv(STORE_VARIABLE, str(store[1]))
    assert leadline("monitor", "doctor", *store[2:])[0] == 0


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("mysql://you@host/name", "PostgreSQL"),
        ("nosuch://you@host/name", "not one"),
        ("postgresql://you:canary@127.0.0.1:1/name", "reached"),
        ("none/at/all.sqlite", "store"),
    ],
)
def test_a_store_that_cannot_be_had_is_one_message(leadline, tmp_path, address, problem):
    code, out, err = leadline("monitor", "doctor", "--store", address)
    assert (code, out) == (2, "")
    assert problem in err
    assert "canary" not in err
    assert "Traceback" not in err


def test_a_date_that_is_none_is_refused(leadline, store):
    code, _, err = leadline("monitor", "nightly", *store, "--date", "yesterday")
    assert code == 2
    assert "2026-03-01" in err


def test_the_service_is_not_opened_to_a_network_in_clear(leadline, store):
    code, _, err = leadline("monitor", "serve", *store, "--host", "0.0.0.0")
    assert code == 2
    assert "--behind-proxy" in err


def test_steps_of_a_night_are_read_by_people():
    steps = {"drift": {"absolute error": {"value": 4.5678, "people": 1234}},
             "asks": {"suggested": 12345, "answer rate": 0.5},
             "retention": {"kept": "for good"}}  # fmt: skip
    assert list(step_lines(steps)) == [
        "drift: absolute error 4.57 (of 1,234 people)",
        "asks: suggested 12,345, answer rate 0.50",
        "retention: kept for good",
    ]
