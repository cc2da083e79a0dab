"""What a teacher is asked to think, by provider, and that its tokens are counted and paid."""

from __future__ import annotations

import json
import sqlite3

import pytest
from tests.support.teacher_cohort import BOTH, MODES, PRICES, config, make_cohort, texts
from tests.support.teacher_server import THOUGHT_TOKENS

from leadline.errors import LeadlineError
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort, teacher_id
from leadline.teacher.label_table import REQUESTS, read_labels
from leadline.teacher.reasoning import anthropic_fields, openai_fields, parse_reasoning


def test_words_and_budgets_are_read_and_others_refused():
    assert not parse_reasoning("default").on
    assert not parse_reasoning("off").on
    assert parse_reasoning("medium").room == 8_000
    assert parse_reasoning("medium", 500).room == 500
    budget = parse_reasoning("4096")
    assert (budget.level, budget.budget, budget.room, budget.on) == ("budget", 4096, 4096, True)
    for word in ("much", "-5", "0", "1.5", "²"):
        with pytest.raises(LeadlineError, match="--reasoning"):
            parse_reasoning(word)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"teacher": "simulated", "reasoning": "low"}, "--teacher simulated"),
        ({"teacher": "anthropic", "reasoning": "1000"}, "smallest budget is 1024"),
        ({"teacher": "openai", "reasoning": "4096"}, "take no budget"),
        ({"teacher": "anthropic", "reasoning": "low", "temperature": 0.5}, "--temperature 0.5"),
        ({"teacher": "openai", "reasoning": "low", "temperature": 0.5}, "--temperature 0.5"),
        ({"teacher": "openai", "reasoning": "deep"}, "--reasoning is 'deep'"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_before_anything_is_sent(change, match):
    with pytest.raises(LeadlineError, match=match):
        LabelConfig(**{"model": "m", **change})


def test_anthropic_is_asked_by_effort_or_by_budget():
    assert anthropic_fields(parse_reasoning("default"), keep=False) == {}
    assert anthropic_fields(parse_reasoning("off"), keep=False) == {
        "thinking": {"type": "disabled"}
    }
    assert anthropic_fields(parse_reasoning("high"), keep=False) == {
        "thinking": {"type": "adaptive", "display": "omitted"},
        "effort": "high",
    }
    assert anthropic_fields(parse_reasoning("2048"), keep=True) == {
        "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "summarized"}
    }


def test_openai_gets_its_own_field_alone_and_other_servers_their_switches():
    low, off, budget = (parse_reasoning(word) for word in ("low", "off", "2048"))
    assert openai_fields(parse_reasoning("default"), official=False, way="auto") == {}
    assert openai_fields(low, official=True, way="auto") == {"reasoning_effort": "low"}
    assert openai_fields(off, official=True, way="auto") == {"reasoning_effort": "none"}
    assert openai_fields(off, official=False, way="auto") == {
        "reasoning_effort": "none",
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }
    assert openai_fields(low, official=False, way="effort") == {"reasoning_effort": "low"}
    assert openai_fields(budget, official=False, way="template") == {
        "chat_template_kwargs": {
            "enable_thinking": True, "thinking": True, "thinking_budget": 2048,
        },
        "thinking_token_budget": 2048,
        "thinking_budget_tokens": 2048,
    }  # fmt: skip


def sent_by(server, teacher, batch):
    """The bodies of the requests that were answered, alone or in a batch."""
    if not batch:
        return [json.loads(body) for body in server.bodies]
    entries = [entry for made in server.batches.values() for entry in made["requests"]]
    return [entry["params" if teacher == "anthropic" else "body"] for entry in entries]


@BOTH
@MODES
@pytest.mark.parametrize("reasoning", ["off", "low", "high", "2048"])
def test_requests_ask_leave_room_and_the_tokens_are_paid(
    tmp_path, server, teacher, batch, reasoning
):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    settings = config(server, teacher, batch=batch, draws=1, reasoning=reasoning, **PRICES)
    report = label_cohort(cohort, tmp_path / "l", settings)
    room = {"off": 0, "low": 4000, "high": 16_000, "2048": 2048}[reasoning]
    for body in sent_by(server, teacher, batch):
        assert body["max_tokens"] == 2000 + room
        structured = body["output_config"] if teacher == "anthropic" else body
        assert "format" in structured or "response_format" in structured
        if teacher == "anthropic" and reasoning in ("low", "high"):
            assert body["output_config"]["effort"] == reasoning
            assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
        if teacher == "openai":
            assert body["chat_template_kwargs"]["enable_thinking"] == (reasoning != "off")
    thoughts = 0 if reasoning == "off" else THOUGHT_TOKENS
    assert report["states"]["done"] == 4
    assert report["usage"]["reasoning_tokens"] == 4 * thoughts
    assert report["usage"]["output_tokens"] == 4 * (50 + thoughts)
    price = (0.5 if batch else 1) * (110 * 5 + (50 + thoughts) * 25) / 1e6
    assert report["usage"]["spent_usd"] == pytest.approx(4 * price)
    assert report["per_person"]["reasoning_tokens"] == {"mean": thoughts, "highest": thoughts}
    assert report["per_person"]["usd"]["mean"] == pytest.approx(price)
    labels = read_labels(tmp_path / "l")
    assert labels["reasoning"].unique().to_list() == [reasoning]
    assert labels["usd"].to_list() == pytest.approx([price] * 4)
    assert labels["reasoning_tokens"].to_list() == [thoughts] * 4


def test_nothing_is_asked_by_default(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(2), locked=0)
    label_cohort(cohort, tmp_path / "a", config(server, "anthropic"))
    label_cohort(cohort, tmp_path / "o", config(server, "openai"))
    for body in map(json.loads, server.bodies):
        assert not {"thinking", "reasoning_effort", "chat_template_kwargs"} & set(body)
        assert "effort" not in body.get("output_config", {})
        assert body["max_tokens"] == 2000


def test_the_price_of_thoughts_is_in_the_plan_and_in_what_is_reserved(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    plans = {
        word: label_cohort(
            cohort, tmp_path / "l",
            config(server, "anthropic", draws=1, dry_run=True, reasoning=word, **PRICES),
        )
        for word in ("off", "low", "high")
    }  # fmt: skip
    assert server.bodies == []
    assert plans["low"]["most_usd"] - plans["off"]["most_usd"] == pytest.approx(6 * 4000 * 25e-6)
    assert plans["high"]["most_usd"] - plans["off"]["most_usd"] == pytest.approx(6 * 16_000 * 25e-6)
    assert plans["off"]["expected_usd"] < plans["low"]["expected_usd"]
    one = plans["high"]["most_usd"] / 6
    settings = config(
        server, "anthropic", draws=1, concurrency=1, reasoning="high", max_usd=1.1 * one, **PRICES
    )
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert report["stopped"] == "max-usd"
    assert report["usage"]["spent_usd"] <= 1.1 * one


def test_a_setup_that_asks_for_nothing_has_the_identity_of_before(tmp_path, server):
    settings = config(server, "openai")
    before = [
        "provider", "model", "rubric", "structured", "temperature", "max_chars", "examples",
    ]  # fmt: skip
    assert list(json.loads(teacher_id(settings))) == before, "its hash is what answers hang on"
    thinking = config(server, "openai", reasoning="low")
    assert json.loads(teacher_id(thinking))["reasoning"] == "low"
    by_template = config(server, "openai", reasoning="low", reasoning_by="template")
    room = config(server, "openai", reasoning="low", thought_tokens=9000, keep_thoughts=True)
    assert teacher_id(by_template) != teacher_id(thinking) == teacher_id(room)


def test_answers_of_another_reasoning_are_not_taken_for_these(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, reasoning="low"))
    paid = len(server.bodies)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, reasoning="low"))
    assert len(server.bodies) == paid
    with pytest.raises(LeadlineError, match="another setup of m-1"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, reasoning="off"))
    label_cohort(cohort, tmp_path / "off", config(server, "openai", draws=1, reasoning="off"))
    assert len(server.bodies) == 2 * paid


def test_a_store_of_before_goes_on_and_keeps_what_was_paid(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "anthropic", draws=1))
    with sqlite3.connect(tmp_path / "l" / REQUESTS) as store:
        store.execute("DROP TABLE reasoning")
    paid = len(server.bodies)
    report = label_cohort(cohort, tmp_path / "l", config(server, "anthropic", draws=2))
    assert len(server.bodies) == paid + 3
    assert report["usage"]["output_tokens"] == 6 * 50
    assert report["usage"]["reasoning_tokens"] == 0
    assert read_labels(tmp_path / "l")["reasoning"].unique().to_list() == ["default"]
