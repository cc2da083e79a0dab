"""The demo of monitoring: real processes over real HTTP, and what a person reads of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from leadline.cli import monitor_demo
from leadline.cli.monitor_demo import (
    SMALLEST,
    _up_to_today,
    check_place,
    course_lines,
    run_monitor_demo,
    worklist_lines,
)
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError


@pytest.fixture
def small(monkeypatch, sentence_reader):
    """The demo with a tiny reader and few people."""
    quick = replace(monitor_demo.TRAIN, reader=str(sentence_reader), folds=2, inner_folds=2)
    monkeypatch.setattr(monitor_demo, "TRAIN", quick)
    monkeypatch.setattr(monitor_demo, "TRAINED_ON", 30)
    monkeypatch.setattr(monitor_demo, "USER_TURNS", 12.0)
    monkeypatch.setattr(monitor_demo, "fetch_reader", lambda name, **_: None)


def test_messages_go_through_http_and_come_back_as_asks_and_courses(small, tmp_path):
    said = []
    results = run_monitor_demo(tmp_path, people=SMALLEST, say=said.append)
    assert results["people"] == SMALLEST
    cohort = read_cohort(tmp_path / "monitor" / "people")
    assert results["messages"] == cohort.turns.height
    assert any("messages sent twice were known" in line for line in said)
    assert len(results["courses"]) == 3
    for course in results["courses"]:
        assert course["statement"].startswith("An estimate, not a PHQ-9 response")
        assert course["days"]
    assert results["answer"] is not None
    before, after = results["answer"]["before"], results["answer"]["after"]
    assert after["upper"] - after["lower"] < before["upper"] - before["lower"]
    again = run_monitor_demo(tmp_path, people=SMALLEST, say=said.append)  # in its place
    assert again["messages"] == results["messages"]
    for log in ("serve.log", "score.log"):  # no word of anybody, no error
        text = (tmp_path / "monitor" / log).read_text(encoding="utf-8")
        assert "Traceback" not in text
        assert not any(line in text for line in cohort.turns["text"].to_list())


def test_months_end_today_and_nobody_answers_twice(simulated_path):
    cohort = read_cohort(simulated_path)
    truth = pl.read_parquet(simulated_path / "truth" / "phq9_all.parquet")
    answers = truth.filter(pl.col("repeat") == 0)
    people = _up_to_today(cohort, answers, np.random.default_rng(0))
    now = datetime.now(UTC)
    last = {m["person"]: datetime.fromisoformat(m["time"]) for m in people.messages}
    assert len(last) == cohort.turns["person_id"].n_unique()
    assert max(last.values()) < now
    assert np.median([(now - moment) / timedelta(days=1) for moment in last.values()]) < 15
    times = [message["time"] for message in people.messages]
    assert times == sorted(times)
    assert len(people.phq9s) + len(people.answers) == answers.height
    assert not {row["id"] for row in people.phq9s} & {row["id"] for row in people.answers.values()}
    assert people.answers
    gaps = cohort.turns.group_by("person_id").agg(pl.col("time").max() - pl.col("time").min())
    for name, span in gaps.iter_rows():
        moments = [
            datetime.fromisoformat(m["time"]) for m in people.messages if m["person"] == name
        ]
        assert max(moments) - min(moments) == span  # shifted, not stretched


def test_what_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "monitor").mkdir()
    check_place(tmp_path)
    (tmp_path / "monitor" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(LeadlineError, match="no demo made"):
        run_monitor_demo(tmp_path)
    assert (tmp_path / "monitor" / "notes.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(LeadlineError, match="--people is 3"):
        run_monitor_demo(tmp_path / "other", people=3)


def day(name, mean, lower, upper):
    return {"day": f"2026-01-{name:02}T00:00:00Z", "mean": mean, "lower": lower, "upper": upper}


def test_a_course_is_drawn_from_0_to_27():
    course = {
        "person": "p1", "standing_words": "Steady, since today", "change": None,
        "days": [day(1, 0, 0, 27), *(day(n, 9, 8, 10) for n in range(2, 8)), day(8, 27, 13.5, 27)],
        "phq9s": [{"time": "2026-01-05T00:00:00Z", "total": 27}],
    }  # fmt: skip
    title, scale, first, second = course_lines(course)
    assert title == "p1: Steady, since today"
    assert scale.split() == ["0", "10", "20", "27"]
    assert len(scale) == len(first) == 11 + monitor_demo.WIDTH
    assert first == "2026-01-01 o" + "-" * 54
    assert second == "2026-01-08 " + " " * 27 + "-" * 26 + "27"  # the answer of that week
    assert scale.index("27") + 2 == len(second)


def test_a_list_says_what_is_not_known():
    row = {"person": "p2", "mean": None, "lower": None, "upper": None, "last_phq9": None,
           "last_phq9_total": None, "standing_words": "Too few words for an estimate",
           "reason": "No PHQ-9 yet", "drawn_at_random": True}  # fmt: skip
    _, line, reason = worklist_lines([row])
    assert line.split() == ["p2", "-", "none", "Too", "few", "words", "for", "an", "estimate"]
    assert reason.strip() == "No PHQ-9 yet (drawn at random)"
