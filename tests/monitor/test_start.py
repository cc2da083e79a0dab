"""What the verbs of monitoring do: stores that are made, keys that change, people who go."""

import os
import sqlite3
import stat
from contextlib import closing

import polars as pl
import pytest
from tests.support.monitored import load, tiny_run
from tests.support.postgres import new_database

from leadline.errors import LeadlineError
from leadline.monitor.config import MonitorConfig, read_config
from leadline.monitor.nightly import night_of
from leadline.monitor.start import (
    check_backup,
    end_token,
    examine,
    forget,
    new_token,
    night,
    opened,
    rekey,
    run_scorer,
    shown_tokens,
    start_store,
    texts_of,
)
from leadline.monitor.texts import AppTexts
from leadline.running.scorer import RunningConfig
from leadline.runs.checkpoint import run_identity
from leadline.runs.prior import PriorConfig, prior_run
from leadline.store import times
from leadline.store.store import change_key
from leadline.store.vault import KeyConfig, new_key


def place(kind, folder):
    return str(folder / "store.sqlite") if kind == "sqlite" else new_database()


def begin(kind, folder, run, **config):
    """A store that was just made: its address and where its key is."""
    address, keys = place(kind, folder), KeyConfig(key_file=folder / "store.key")
    facts = start_store(address, run, keys, MonitorConfig(**config), keep_texts=True)
    return address, keys, facts


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_is_made_and_brought_up_to_date(kind, tmp_path, monitor_run):
    address, keys, facts = begin(kind, tmp_path, monitor_run)
    assert facts["model"] == run_identity(monitor_run)
    assert (facts["people"], facts["no_label_seen"], facts["texts"]) == (0, False, "kept")
    assert stat.S_IMODE((tmp_path / "store.key").stat().st_mode) == 0o600
    again = start_store(address, monitor_run, keys, MonitorConfig(cut=(15.0,)), keep_texts=True)
    assert again["model"] == facts["model"]
    with opened(address, keys) as store:
        assert store.database.read(read_config).cut == (15.0,)
    seen = examine(address, keys)
    assert seen["models"] == [f"{facts['model']} (live)"]
    assert (seen["people"], seen["last_night"]) == (0, "-")


def test_a_store_of_another_model_is_not_taken_over(tmp_path, monitor_run, simulated,
                                                    sentence_reader):  # fmt: skip
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    names = simulated.phq9["person_id"].unique(maintain_order=True).to_list()
    other = tiny_run(tmp_path / "other", simulated, sentence_reader, names[2:14])
    with pytest.raises(LeadlineError, match="Another model is live") as refused:
        start_store(address, other, keys, MonitorConfig(), keep_texts=True)
    assert "rescore" in str(refused.value)


def test_a_run_without_a_label_says_so(tmp_path, simulated, sentence_reader):
    run = tmp_path / "prior"
    prior_run(run, PriorConfig(reader=str(sentence_reader)), on=simulated, home=tmp_path / "home")
    _, _, facts = begin("sqlite", tmp_path, run)
    assert facts["no_label_seen"] is True


def test_tokens_are_listed_without_their_secret_and_end(tmp_path, monitor_run):
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    text = new_token(address, keys, "app", ("ingest",), (30.0, None))
    (row,) = shown_tokens(address, keys)
    assert row["name"] == "app"
    assert row["last_used"] == row["revoked"] == "-"
    secret = text.rsplit("_", 1)[1]
    assert secret not in str(row)
    end_token(address, keys, row["id"])
    assert shown_tokens(address, keys)[0]["revoked"] != "-"
    with pytest.raises(LeadlineError, match="no such token"):
        end_token(address, keys, row["id"])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_forgetting_says_what_would_go_before_it_goes(kind, tmp_path, monitor_run, spread_cohort):
    address, keys, _ = begin(kind, tmp_path, monitor_run)
    with opened(address, keys) as store:
        load(store, spread_cohort)
    name = pl.read_parquet(spread_cohort / "turns.parquet")["person_id"][0]
    before = forget(address, keys, name, really=False)
    assert before["message"] > 0
    assert before == forget(address, keys, name, really=True)
    assert examine(address, keys)["people"] == 5
    with pytest.raises(LeadlineError, match="Nobody of this name"):
        forget(address, keys, name, really=True)


def test_a_new_key_opens_and_the_old_one_does_not(tmp_path, monitor_run, spread_cohort):
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    with opened(address, keys) as store:
        load(store, spread_cohort)
    assert rekey(address, keys, tmp_path / "new.key") >= 6
    with pytest.raises(LeadlineError), opened(address, keys):
        pass
    assert examine(address, KeyConfig(key_file=tmp_path / "new.key"))["people"] == 6


def test_a_change_of_keys_that_was_killed_after_its_commit_is_finished(
    tmp_path, monitor_run, spread_cohort
):
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    new = tmp_path / "new.key"

    def killed(store, key):
        change_key(store, key)
        raise KeyboardInterrupt

    with opened(address, keys) as store, pytest.raises(KeyboardInterrupt), new_key(new) as key:
        killed(store, key)
    assert not new.exists()
    rekey(address, keys, new)
    assert examine(address, KeyConfig(key_file=new))["people"] == 0
    with pytest.raises(LeadlineError, match="not the one"):
        rekey(address, keys, tmp_path / "third.key")
    assert not [file for file in tmp_path.iterdir() if "third" in file.name]


def test_a_scorer_reads_once_and_the_night_follows(tmp_path, monitor_run, spread_cohort):
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    with opened(address, keys) as store:
        load(store, spread_cohort)
    budget = (tmp_path / "states", RunningConfig())
    assert run_scorer(address, keys, budget, once=True) == 6
    assert run_scorer(address, keys, budget, once=True) == 0
    today = night_of(times.now())
    steps = night(address, keys, today)
    assert steps["move on"]["people"] == 6
    assert examine(address, keys)["messages_unread"] == 0


def test_texts_that_the_app_keeps_need_an_address(tmp_path, monitor_run):
    address, keys = place("sqlite", tmp_path), KeyConfig(key_file=tmp_path / "store.key")
    facts = start_store(address, monitor_run, keys, MonitorConfig(), keep_texts=False)
    assert facts["texts"] == "elsewhere"
    with opened(address, keys) as store:
        with pytest.raises(LeadlineError, match="--history-url"):
            texts_of(store, None)
        assert isinstance(texts_of(store, "https://app.example/history"), AppTexts)


def test_a_copy_of_the_store_is_looked_at(tmp_path, monitor_run):
    address, keys, _ = begin("sqlite", tmp_path, monitor_run)
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(address)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    now = times.now()
    assert check_backup(copy, now) == {"whole": True, "people": 0}
    assert night(address, keys, backup=copy)["backup"]["whole"]
    old = copy.stat().st_mtime - 40 * 3600
    os.utime(copy, (old, old))
    with pytest.raises(LeadlineError, match="a day and a half"):
        check_backup(copy, now)
    copy.write_bytes(b"no store" * 1000)
    with pytest.raises(LeadlineError, match="damaged, or no store"):
        check_backup(copy, now)
    with pytest.raises(LeadlineError, match="not there"):
        check_backup(tmp_path / "none.sqlite", now)
