"""Calls of models: each message of a session once, with its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError

SYSTEM = {"role": "system", "content": "be kind"}
U1, A1 = {"role": "user", "content": "low"}, {"role": "assistant", "content": "why?"}
U2, A2 = {"role": "user", "content": "work"}, {"role": "assistant", "content": "I see."}
TURNS = [("system", "be kind"), ("user", "low"), ("assistant", "why?"), ("user", "work"),
         ("assistant", "I see.")]  # fmt: skip


def said(cohort: Cohort) -> list[tuple[str, str]]:
    return [(line[3], line[4]) for line in turns_of(cohort)]


def langfuse(time: int, given: Any, answer: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"t{time}", "timestamp": f"2024-05-01T10:0{time}:00Z", "sessionId": "s",
            "userId": "p", "input": given, "output": answer, **more}  # fmt: skip


CALLS = [langfuse(0, [SYSTEM, U1], A1), langfuse(1, [SYSTEM, U1, A1, U2], A2)]


def test_langfuse_repeats_the_history(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "t.jsonl", CALLS))
    assert said(cohort) == TURNS
    assert [f"{time:%M}" for time in cohort.turns["time"]] == ["00", "00", "00", "01", "01"]
    assert cohort.manifest["import"]["format"] == "traces"


def test_order_of_the_file_retries_and_spans_change_nothing(tmp_path: Path) -> None:
    span = {**langfuse(2, "query", "rows"), "type": "SPAN"}
    lines = [CALLS[1], span, CALLS[0], {**CALLS[1], "id": "again"}]
    cohort = import_beside(write_source(tmp_path, "t.json", {"data": lines}))
    assert said(cohort) == TURNS


def test_an_answer_that_was_given_up_is_left_out(tmp_path: Path) -> None:
    other = {"role": "assistant", "content": "never seen"}
    calls = [langfuse(0, [SYSTEM, U1], other), langfuse(1, [SYSTEM, U1], A1),
             langfuse(2, [SYSTEM, U1, A1, U2], A2)]  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "t.jsonl", calls))
    assert said(cohort) == TURNS


def test_bare_texts_and_calls_without_history(tmp_path: Path) -> None:
    calls = [langfuse(0, "low", "why?"), langfuse(1, {"question": "work"}, {"answer": "I see."})]
    assert said(import_beside(write_source(tmp_path, "t.jsonl", calls))) == TURNS[1:]


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def span(time: int, values: dict[str, Any]) -> dict[str, Any]:
    about = {"user.id": "p", "gen_ai.conversation.id": "s", "gen_ai.operation.name": "chat"}
    return {"spanId": str(time), "startTimeUnixNano": str((1714557600 + time) * 10**9),
            "attributes": attributes({**about, **values})}  # fmt: skip


def parts(message: dict[str, str]) -> dict[str, Any]:
    return {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}


@pytest.mark.parametrize("indexed", [False, True])
def test_opentelemetry(tmp_path: Path, indexed: bool) -> None:
    spans = []
    for time, (given, answer) in enumerate([([SYSTEM, U1], A1), ([SYSTEM, U1, A1, U2], A2)]):
        values = {"gen_ai.input.messages": json.dumps([parts(message) for message in given]),
                  "gen_ai.output.messages": json.dumps([parts(answer)])}  # fmt: skip
        if indexed:
            values = {
                f"gen_ai.prompt.{place}.{key}": message[key]
                for place, message in enumerate(given)
                for key in ("role", "content")
            }
            values |= {f"gen_ai.completion.0.{key}": answer[key] for key in ("role", "content")}
        spans.append(span(time, values))
    tool = {"gen_ai.operation.name": "execute_tool"}
    spans.append(span(5, tool))
    record = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    cohort = import_beside(write_source(tmp_path, "otel.json", record))
    assert said(cohort) == TURNS
    assert cohort.turns["time"].null_count() == 0


def test_requests_beside_responses(tmp_path: Path) -> None:
    lines = [
        {"request": {"user": "p", "messages": [SYSTEM, U1]}, "response": {
            "created": 1714557600, "choices": [{"message": A1}]}},
        {"request": {"user": "p", "messages": [SYSTEM, U1, A1, U2]}, "response": {
            "created": 1714557700, "choices": [{"message": A2}]}},
    ]  # fmt: skip
    assert said(import_beside(write_source(tmp_path, "log.jsonl", lines))) == TURNS


def test_a_call_that_names_no_person_is_asked_about(tmp_path: Path) -> None:
    calls = [{key: value for key, value in call.items() if key != "userId"} for call in CALLS]
    source = write_source(tmp_path, "t.jsonl", calls)
    with pytest.raises(LeadlineError, match="names no person") as caught:
        import_beside(source)
    assert "--person-key" in caught.value.remedy
    assert said(import_beside(source, one_person_per_conversation=True)) == TURNS


@pytest.mark.parametrize(
    "call",
    [
        {"request_body": {"messages": [U1]}, "response_body": {"choices": [{"message": A1}]},
         "user_id": "p", "request_created_at": "2024-05-01T10:00:00Z"},
        {"run_type": "llm", "inputs": {"messages": [U1]}, "session_id": "s",
         "outputs": {"generations": [[{"text": "x", "message": {"type": "ai", "data": {
             "content": "why?", "type": "ai"}}}]]},
         "extra": {"metadata": {"user_id": "p"}}, "start_time": "2024-05-01T10:00:00Z"},
    ],
)  # fmt: skip
def test_other_logs(tmp_path: Path, call: dict[str, Any]) -> None:
    cohort = import_beside(write_source(tmp_path, "t.json", [call]))
    assert said(cohort) == TURNS[1:3]
    assert cohort.turns["time"].null_count() == 0


WHO = {"session.id": "s", "user.id": "p"}


def otlp(attributes: dict[str, str], events: list[Any] | None = None) -> dict[str, Any]:
    pairs = [{"key": key, "value": {"stringValue": value}}
             for key, value in {**WHO, **attributes}.items()]  # fmt: skip
    spans = [{"spanId": "1", "startTimeUnixNano": "1714557600000000000", "attributes": pairs,
              "events": events or []}]  # fmt: skip
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def span_event(name: str, key: str, value: str) -> dict[str, Any]:
    return {"name": name, "attributes": [{"key": key, "value": {"stringValue": value}}]}


@pytest.mark.parametrize(
    "content",
    [
        otlp({"llm.input_messages.0.message.role": "user",
              "llm.input_messages.0.message.content": "low",
              "llm.output_messages.0.message.role": "assistant",
              "llm.output_messages.0.message.content": "why?"}),
        otlp({}, [span_event("gen_ai.user.message", "content", "low"),
                  span_event("gen_ai.choice", "message", json.dumps(A1))]),
        {"timestamp": "2024-05-01T10:00:00Z", "sessionId": "s", "userId": "p",
         "input": {"query": "low"}, "output": {"answer": "why?"}},
        {"run_type": "llm", "session_id": "project", "start_time": "2024-05-01T10:00:00Z",
         "extra": {"metadata": {"session_id": "s", "user_id": "p"}},
         "inputs": {"messages": [[{"id": ["langchain", "HumanMessage"], "lc": 1,
                                   "type": "constructor", "kwargs": {"content": "low"}}]]},
         "outputs": {"generations": [[{"text": "why?", "message": {"kwargs": {
             "content": "why?"}}}]]}},
    ],
)  # fmt: skip
def test_calls_of_other_programs(tmp_path: Path, content: Any) -> None:
    cohort = import_beside(write_source(tmp_path, "t.json", content))
    assert [line[:2] + line[3:] for line in turns_of(cohort)] == [
        ("p", "s", "user", "low"), ("p", "s", "assistant", "why?"),
    ]  # fmt: skip


def test_a_table_of_traces_loses_no_answer(tmp_path: Path) -> None:
    table = (
        "id,timestamp,userId,sessionId,input,output\n"
        't,2024-05-01T10:00:00Z,p,s,"[{""role"": ""user"", ""content"": ""low""}]",'
        '"{""role"": ""assistant"", ""content"": ""why?""}"\n'
    )
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert cohort.manifest["import"]["format"] == "traces"
    assert said(cohort) == [("user", "low"), ("assistant", "why?")]


def test_an_answer_without_words_is_counted(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "t.jsonl", [langfuse(0, "low", {"tokens": 3})]))
    assert said(cohort) == [("user", "low")]
    notes = cohort.manifest["import"]["transformations"]
    assert notes["inputs or outputs of calls that hold no message, left out"] == 1


def structured(value: Any) -> dict[str, Any]:
    """A value as OTLP writes it."""
    if isinstance(value, list):
        return {"arrayValue": {"values": [structured(entry) for entry in value]}}
    if isinstance(value, dict):
        pairs = [{"key": key, "value": structured(inner)} for key, inner in value.items()]
        return {"kvlistValue": {"values": pairs}}
    return {"stringValue": value}


def test_attributes_that_are_lists_are_opened(tmp_path: Path) -> None:
    content = otlp({})
    attributes = content["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    for name, role, text in (("input", "user", "low"), ("output", "assistant", "why?")):
        message = {"role": role, "parts": [{"type": "text", "content": text}]}
        attributes.append({"key": f"gen_ai.{name}.messages", "value": structured([message])})
    cohort = import_beside(write_source(tmp_path, "t.json", content))
    assert said(cohort) == [("user", "low"), ("assistant", "why?")]


def test_a_trace_without_an_input_has_its_observations(tmp_path: Path) -> None:
    inner = {"type": "GENERATION", "input": [U1], "output": A1,
             "startTime": "2024-05-01T10:00:00Z"}  # fmt: skip
    trace = langfuse(0, None, None, observations=[inner, {"type": "SPAN", "input": "x"}])
    cohort = import_beside(write_source(tmp_path, "t.json", [trace]))
    assert [line[:2] + line[3:] for line in turns_of(cohort)] == [
        ("p", "s", "user", "low"), ("p", "s", "assistant", "why?"),
    ]  # fmt: skip
