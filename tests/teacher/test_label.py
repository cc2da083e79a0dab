"""Labelling end to end against a loopback server: protocols, faults, consent, money, kills."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from datetime import timedelta

import polars as pl
import pytest
from tests.support.kills import kill_at, steps_of
from tests.support.teacher_cohort import (
    BOTH,
    MODES,
    PRICES,
    START,
    add_truth,
    config,
    make_cohort,
    texts,
)

from leadline.about import code_version
from leadline.artefact import read_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.teacher import label
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort, refuse_other_labels
from leadline.teacher.label_table import read_labels
from leadline.teacher.selection import gold_examples
from leadline.teacher.transcript import render


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


def test_labels_masked_conversation_by_conversation_are_not_continued(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(2), locked=0)
    masking, settings = WindowConfig(mask_questionnaire=True), config(server, "openai", draws=1)
    label_cohort(cohort, tmp_path / "l", settings, window=masking)
    label_cohort(cohort, tmp_path / "l", settings, window=masking)  # its own go on
    before = json.dumps(dataclasses.asdict(masking), sort_keys=True)
    with sqlite3.connect(tmp_path / "l" / "requests.sqlite") as store:
        store.execute("UPDATE meta SET value = ? WHERE name = 'window'", (before,))
    with pytest.raises(LeadlineError, match="another window"):
        label_cohort(cohort, tmp_path / "l", settings, window=masking)


def test_questionnaires_in_the_chat_are_masked_on_request(tmp_path, server):
    words = ["I took the PHQ-9 and scored 17 out of 27, sleep is bad", *texts(2)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    masking = WindowConfig(mask_questionnaire=True)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1), window=masking)
    sent = "\n".join(server.asked)
    assert "sleep is bad" in sent
    assert "17" not in sent


def test_labelling_stops_at_a_questionnaire_unless_it_is_to_be_read(tmp_path, server):
    words = ["I took the PHQ-9 and scored 17 out of 27, sleep is bad", *texts(2)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    settings = config(server, "openai", draws=1)
    for dry_run in (False, True):
        with pytest.raises(LeadlineError, match=r"1 of 3 people.*quoted score") as caught:
            label_cohort(cohort, tmp_path / "l", dataclasses.replace(settings, dry_run=dry_run))
        assert "--keep-questionnaire" in caught.value.remedy
    assert not server.asked
    keeping = WindowConfig(keep_questionnaire=True)
    label_cohort(cohort, tmp_path / "l", settings, window=keeping)
    assert "17" in "\n".join(server.asked)
    manifest = read_manifest(tmp_path / "l", "labels")
    assert (manifest["questionnaire"]["arm"], manifest["questionnaire"]["people"]) == ("kept", 1)
    refuse_other_labels(tmp_path / "l", read_cohort(cohort).manifest, WindowConfig())


def test_the_store_never_shows_ids_to_requests(tmp_path, server):
    """The tables that requests are made from hold no person id and no time."""
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai"))
    with sqlite3.connect(tmp_path / "l" / "requests.sqlite") as db:
        rows = db.execute("SELECT * FROM requests").fetchall()
        rows += db.execute("SELECT text FROM systems").fetchall()
    assert "quokka" not in repr(rows)


def test_what_was_labelled_is_bound_to_its_cohort_window_and_mask(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(3))
    window = WindowConfig(days=0, mask_questionnaire=True)
    label_cohort(cohort, tmp_path / "l", config(server, "openai"), window=window)
    refuse_other_labels(tmp_path / "l", read_cohort(cohort).manifest, window)
    for other in ({"days": 14}, {"mask_questionnaire": False}, {"min_turns": 2}):
        changed = dataclasses.replace(window, **other)
        with pytest.raises(LeadlineError, match=f"another window.*{next(iter(other))}"):
            refuse_other_labels(tmp_path / "l", read_cohort(cohort).manifest, changed)
    again = make_cohort(tmp_path / "d", [text + " again" for text in texts(3)])
    with pytest.raises(LeadlineError, match="other turns"):
        refuse_other_labels(tmp_path / "l", read_cohort(again).manifest, window)


def of_another_version(out):
    """Make a store say that other code asked the teacher last."""
    with sqlite3.connect(out / "requests.sqlite") as store:
        store.execute("UPDATE meta SET value = '0.0.9+x' WHERE name LIKE 'code that asked%'")
        assert store.total_changes == 1


def test_answers_that_were_paid_to_another_version_are_kept(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    out, settings = tmp_path / "l", config(server, "openai", draws=1)
    label_cohort(cohort, out, dataclasses.replace(settings, limit=2))
    assert len(server.asked) == 2
    of_another_version(out)
    report = label_cohort(cohort, out, settings)
    assert len(server.asked) == 4, "only the two that were not asked"
    assert report["labels"] == 4
    assert read_manifest(out, "labels")["code"] == code_version()


def test_readings_that_another_version_sent_in_other_words_are_not_paid_twice(
    tmp_path, server, monkeypatch
):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    out, settings = tmp_path / "l", config(server, "openai", draws=1)
    label_cohort(cohort, out, dataclasses.replace(settings, limit=2))
    before = read_labels(out)
    of_another_version(out)
    monkeypatch.setattr(label, "render", lambda *a, **k: render(*a, **k) + " (end)")
    with pytest.raises(LeadlineError, match=r"2 of these readings were sent .* in other words"):
        label_cohort(cohort, out, settings)
    assert len(server.asked) == 2
    assert read_labels(out).equals(before)


def test_what_another_version_planned_and_never_sent_is_asked_in_the_words_of_this_one(
    tmp_path, server, monkeypatch
):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    out, settings = tmp_path / "l", config(server, "openai", draws=1)
    with monkeypatch.context() as patch:
        patch.setattr(label, "_work", lambda *a: pytest.fail("killed before it is sent"))
        with pytest.raises(pytest.fail.Exception):
            label_cohort(cohort, out, settings)
    of_another_version(out)
    monkeypatch.setattr(label, "render", lambda *a, **k: render(*a, **k) + " (end)")
    assert label_cohort(cohort, out, settings)["labels"] == 3
    assert len(server.asked) == 3
    assert all("(end)" in text for text in server.asked)


def test_labels_are_made_where_nothing_else_lies_and_take_their_place_at_one_instant(tmp_path):
    cohort, out = make_cohort(tmp_path / "c", texts(3)), tmp_path / "l"
    add_truth(cohort, 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(LeadlineError, match="no labels that Leadline began"):
        label_cohort(cohort, tmp_path / "mine", LabelConfig(limit=1))
    with pytest.raises(LeadlineError, match="is read for it"):
        label_cohort(cohort, cohort / "l", LabelConfig(limit=1))
    label_cohort(cohort, out, LabelConfig(limit=1))
    first = read_labels(out)
    (out / ".labels.parquet.12-0123abcd").touch()  # as a kill leaves it
    count = steps_of(lambda: label_cohort(cohort, tmp_path / "again", LabelConfig(limit=1)))
    for place in range(count - 6, count):  # around the manifest
        kill_at(place, lambda: label_cohort(cohort, out, LabelConfig(limit=2)))
        assert read_labels(out).height in (first.height, 2 * first.height), place
        label_cohort(cohort, out, LabelConfig(limit=2))
        assert read_labels(out).height == 2 * first.height
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
