"""Traces and request logs of model calls: Langfuse, OpenTelemetry GenAI, OpenAI requests.

A call repeats what was said before and adds an answer. The calls of a session are put together
so that each message stands once: what a call repeats is left out and counted, retries too. Which
session and person a call belongs to is read from its attributes (`session.id`, `user.id`,
`sessionId`, `userId`, `metadata.user_id`).

Sources: Langfuse's API (traces and observations with `input` and `output`), OTLP/JSON with the
semantic conventions for generative AI (`gen_ai.input.messages`, `gen_ai.prompt.0.content`), and
logs that keep `request` beside `response`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.layouts.dialogue import Dialogue, DialogueWriter
from leadline.layouts.message import Keys, read_message
from leadline.layouts.unsaid import BRANCHES, REPEATS
from leadline.sources.batch import ONLY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import json_values
from leadline.sources.names import normal
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.records import RawTurns, at, first_of, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN, roles_of
from leadline.sources.source import Source

SESSION_KEYS = (
    "extra.metadata.session_id", "extra.metadata.thread_id", "extra.metadata.conversation_id",
    "sessionId", "session_id", "session.id", "gen_ai.conversation.id", "langfuse.session.id",
    "conversation_id", "thread_id", "metadata.session_id", "metadata.conversation_id",
    "request.metadata.session_id",
)  # fmt: skip

PERSON_KEYS = (
    "userId", "user_id", "user.id", "enduser.id", "langfuse.user.id", "user", "request.user",
    "body.user", "metadata.user_id", "metadata.user", "extra.metadata.user_id",
    "request.metadata.user_id", "session_user_id", "end_user",
)  # fmt: skip

TIME_KEYS = (
    "timestamp", "startTime", "start_time", "createdAt", "created_at", "created",
    "startTimeUnixNano", "time", "response.created", "request.created", "request_created_at",
)  # fmt: skip

PROMPT = re.compile(
    r"^(?:gen_ai\.(?P<side>prompt|completion)\.(?P<place>\d+)\.(?P<part>role|content)"
    r"|llm\.(?P<side2>input|output)_messages\.(?P<place2>\d+)\.message\."
    r"(?P<part2>role|content))$"
)
"""Attributes of OpenLLMetry and of OpenInference."""

SIDES = {"input": "prompt", "output": "completion"}

EVENT = re.compile(r"^gen_ai\.(system|user|assistant|tool)\.message$|^gen_ai\.(choice)$")

ONLY_TEXT = ("query", "question", "prompt", "user_input", "user_message", "answer", "response",
             "reply", "completion", "result", "output_text", "text", "input", "output")  # fmt: skip

INPUTS = (
    "gen_ai.input.messages", "gen_ai.prompt", "input", "inputs", "request", "request_body",
    "prompt", "body", "input.value", "messages", "langfuse.observation.input",
    "langfuse.trace.input",
)  # fmt: skip

OUTPUTS = (
    "gen_ai.output.messages", "gen_ai.completion", "output", "outputs", "response",
    "response_body", "completion", "output.value", "choices", "langfuse.observation.output",
    "langfuse.trace.output",
)  # fmt: skip

GIVEN = ("input", "inputs", "request", "request_body", "prompt", "body")

ANSWERED = ("output", "outputs", "response", "response_body", "completion")

OTHER_SPANS = ("span", "event", "tool", "agent", "retriever", "embedding", "embeddings", "chain",
               "guardrail", "evaluator", "execute_tool")  # fmt: skip

OTLP_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue", "arrayValue", "kvlistValue",
               "bytesValue", "string_value", "int_value", "double_value",
               "bool_value")  # fmt: skip

CALL_TIME = "call_time"


@dataclass
class Call:
    """One call of a model.

    Attributes:
        where: locator.
        session: name of its conversation, if it has one.
        person: identifier, if it has one.
        time: when it began.
        messages: what it was given, then what it answered.
        new: position of the last message that it was given: from there on nothing is history.
        record: its keys and attributes.
    """

    where: str
    session: str | None
    person: str | None
    time: Any
    messages: list[Any]
    new: int
    record: Mapping[str, Any]

    def placed(self) -> list[tuple[str, Any]]:
        """Messages with locators; the last that was given and the answers have the call's time."""
        pairs = []
        for place, raw in enumerate(self.messages):
            if place >= self.new and self.time is not None and isinstance(raw, Mapping):
                raw = {**raw, CALL_TIME: self.time}
            pairs.append((f"{self.where}, message {place + 1}", raw))
        return pairs


def is_call(record: Any) -> bool:
    """Whether a record is a call of a model, with an input and an output, or a file of spans."""
    if not isinstance(record, Mapping):
        return False
    if "resourceSpans" in record or any(PROMPT.match(key) or key in INPUTS[:2] for key in record):
        return True
    if isinstance(record.get("attributes"), Mapping | list) and "spanId" in record:
        return True
    observations = record.get("observations")
    if isinstance(observations, list) and any(map(is_call, observations)):
        return True
    given_names = [key for key in record if key in GIVEN]
    output_names = [key for key in record if key in ANSWERED]
    if given_names and output_names:
        return bool(_messages(record[given_names[0]], "user"))
    return "messages" in record and ("choices" in record or "response" in record)


TRACE_KEYS = frozenset((
    "attributes", "body", "choices", "completion", "content", "conversation_id", "createdAt",
    "created_at", "data", "end_user", "events", "input", "inputs", "key", "kwargs", "message",
    "messages", "metadata", "name", "observations", "output", "outputs", "output_text", "query",
    "question", "reply", "request", "request_body", "request_created_at", "resourceSpans",
    "response", "response_body", "result", "role", "run_type", "scopeSpans", "sessionId",
    "session_id", "spanId", "spans", "startTime", "startTimeUnixNano", "start_time",
    "stringValue", "arrayValue", "kvlistValue", "intValue", "boolValue", "doubleValue",
    "bytesValue", "values", "value", "text", "thread_id", "timestamp", "tool_calls", "type",
    "user", "userId", "user_id", "parts", "extra", "usage", "prompt", "id", "answer",
))  # fmt: skip
"""Keys that are read by name, found in another case too."""


def read_traces(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open traces or a request log; see the module."""
    people = PeopleColumns(settings.people_column)
    batches = _batches(source, settings, people, ledger)
    return Source(batches, roles_of(settings), people, inputs=[source])


def _batches(
    source: Path, settings: ImportConfig, people: PeopleColumns, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    rows = RawTurns(source, ledger)
    writer = DialogueWriter(rows, settings, ledger)
    calls = sorted(_calls(source, settings, ledger), key=lambda call: _sortable(call.time))
    sessions: dict[tuple[str, str], list[Call]] = {}
    for number, call in enumerate(calls, 1):
        person = settings.person or call.person
        if settings.one_person_per_conversation:
            person = call.session or str(number)
        if person is None:
            rows.lose(call.where, *NOBODY, len(call.messages))
            continue
        people.add(person, picked(call.record, people.columns), source, call.where, ledger)
        sessions.setdefault((person, call.session or ONLY), []).append(call)
    for (person, name), session_calls in sessions.items():
        session = _put_together(session_calls, rows)
        where = session_calls[0].where
        places = [place for place, _ in session]
        writer.write(Dialogue(where, person, name, [raw for _, raw in session], places))
        if rows.full:
            yield rows.batch()
    yield rows.batch()


def _put_together(calls: list[Call], rows: RawTurns) -> list[tuple[str, Any]]:
    """The messages of a session, each once: what calls repeat, and answers that were given up for
    others, are left out.
    """
    with_history = any(sum(_role(raw) == "user" for raw in call.messages) > 1 for call in calls)
    session: list[tuple[str, Any]] = []
    marks: list[str] = []
    for call in calls:
        pairs = call.placed()
        news = [_mark(raw) for _, raw in pairs]
        start = _shared(marks, news)
        if start == len(news) and news:
            rows.omit(REPEATS, len(news))
            continue
        if start < len(marks):
            overlap = next((size for size in range(min(len(marks), len(news)), 0, -1)
                            if marks[-size:] == news[:size]), 0)  # fmt: skip
            if overlap:
                start = overlap
            elif with_history and start:
                rows.omit(BRANCHES, len(session) - start)
                session, marks = session[:start], marks[:start]
            else:
                start = 0
        rows.omit(REPEATS, start)
        session += pairs[start:]
        marks += news[start:]
    return session


def _shared(old: list[str], new: list[str]) -> int:
    return next((place for place, pair in enumerate(zip(old, new, strict=False))
                 if pair[0] != pair[1]), min(len(old), len(new)))  # fmt: skip


def _role(raw: Any) -> str:
    word = read_message(raw, Keys()).speaker if isinstance(raw, Mapping) else None
    word = str(word).lower()
    return "user" if KNOWN.get(word) == "user" else word


def _mark(raw: Any) -> str:
    """What makes two messages of calls one: the role and the words."""
    if not isinstance(raw, Mapping):
        return repr(raw)
    message = read_message(raw, Keys())
    return repr((_role(raw), message.text, message.omitted and repr(sorted(raw))))


NOBODY = (
    "The call names no person.",
    "Say where the identifier is with --person-key KEY (dots reach inside: metadata.user_id), or "
    "give --one-person-per-conversation or --person ID.",
)


def _sortable(time: Any) -> str:
    if isinstance(time, int | float):
        return f"{time:024.6f}"
    return "" if time is None else str(time)


def _calls(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Iterator[Call]:
    for where, value in json_values(source, ledger, TRACE_KEYS):
        for place, record in _records(value, where):
            flat = _flattened(record)
            ledger.uses.meet(source, [key for key in flat if len(key) < 80])
            for key in flat:
                if PROMPT.match(key) or key in (*INPUTS, *OUTPUTS, "attributes"):
                    ledger.uses.take(source, key, "messages")
                elif any(normal(key) == normal(name) for name in TIME_KEYS):
                    ledger.uses.take(source, key, "time")
            kinds = ("type", "run_type", "gen_ai.operation.name")
            kind = str(first_of(flat, kinds) or "").lower()
            if kind in OTHER_SPANS:
                ledger.note("spans that are no calls of a model, left out")
                continue
            given_messages, answers = _both_sides(flat)
            if bool(given_messages) != bool(answers) and _has_both(flat):
                ledger.note("inputs or outputs of calls that hold no message, left out")
            if not given_messages and not answers:
                ledger.note("spans that are no calls of a model, left out")
                continue
            names = (settings.person_key,) if settings.person_key else PERSON_KEYS
            person = _name(flat, names, ledger, source, "person")
            session = _name(flat, SESSION_KEYS, ledger, source, "conversation")
            time = next((flat_time for key in TIME_KEYS
                         if (flat_time := at(flat, key)) is not None), None)  # fmt: skip
            if isinstance(time, str) and time.isdigit():
                time = int(time)
            new = max(len(given_messages) - 1, 0)
            yield Call(place, session, person, time, [*given_messages, *answers], new, flat)


def _both_sides(flat: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The messages that a call was given and those that it answered."""
    prompts, answers = _prompts(flat, "prompt"), _prompts(flat, "completion")
    if not prompts and not answers:
        prompts, answers = _of_events(flat.get("events"))
    prompts = prompts or _first_messages(flat, INPUTS, "user")
    return prompts, answers or _first_messages(flat, OUTPUTS, "assistant")


def _has_both(flat: Mapping[str, Any]) -> bool:
    """Whether a call has something under a key of an input and under one of an output."""
    return all(any(flat.get(key) for key in keys) for keys in (INPUTS, OUTPUTS))


def _of_events(events: Any) -> tuple[list[Any], list[Any]]:
    """Messages of a span that stand in its events (``gen_ai.user.message``, ``gen_ai.choice``)."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for event in events if isinstance(events, list) else []:
        match = EVENT.match(str(event.get("name"))) if isinstance(event, Mapping) else None
        if match is None:
            continue
        body = _flattened(event)
        role = match[1] or "assistant"
        messages = _messages(body.get("message") or body.get("content"), role)
        sides[1 if match[2] else 0].extend(
            {"role": role, **raw} if isinstance(raw, Mapping) else raw for raw in messages
        )
    return sides


def _records(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Calls of a value: spans of OTLP, observations of a trace, entries of a list, or itself."""
    if not isinstance(value, Mapping):
        return
    if isinstance(value.get("resourceSpans"), list):
        number = 0
        for resource in value["resourceSpans"]:
            scopes = resource.get("scopeSpans") if isinstance(resource, Mapping) else None
            for scope in scopes if isinstance(scopes, list) else []:
                spans = scope.get("spans") if isinstance(scope, Mapping) else None
                for span in spans if isinstance(spans, list) else []:
                    if isinstance(span, Mapping):
                        yield f"{where}, span {number}", span
                    number += 1
        return
    inner = value.get("data")
    if isinstance(inner, list) and not any(key in value for key in ("input", "output")):
        for number, entry in enumerate(inner):
            yield from _records(entry, f"{where}, data[{number}]")
        return
    observations = value.get("observations")
    if isinstance(observations, list) and not value.get("input") and not value.get("output"):
        outer = {key: value[key] for key in ("sessionId", "userId", "metadata") if key in value}
        for number, entry in enumerate(observations):
            if isinstance(entry, Mapping):
                yield f"{where}, observations[{number}]", {**outer, **entry}
        return
    yield where, value


def _flattened(record: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its attributes beside its own keys."""
    flat = dict(record)
    attributes = record.get("attributes")
    if isinstance(attributes, Mapping):
        flat |= attributes
    elif isinstance(attributes, list):
        for entry in attributes:
            if isinstance(entry, Mapping) and isinstance(entry.get("value"), Mapping):
                flat[str(entry.get("key"))] = _any_value(entry["value"])
    return flat


def _any_value(value: Any) -> Any:
    """The value of an OTLP attribute, lists and objects (``arrayValue``, ``kvlistValue``) too."""
    inner = next((value[key] for key in OTLP_VALUES if key in value), None) if isinstance(
        value, Mapping) else None  # fmt: skip
    values = inner.get("values") if isinstance(inner, Mapping) else None
    if not isinstance(values, list):
        return inner
    if "kvlistValue" in value:
        return {str(entry.get("key")): _any_value(entry.get("value"))
                for entry in values if isinstance(entry, Mapping)}  # fmt: skip
    return [_any_value(entry) for entry in values]


def _name(
    flat: Mapping[str, Any], keys: tuple[str, ...], ledger: RejectedRows, file: Path, kind: str
) -> str | None:
    for key in keys:
        name = identifier(at(flat, key))
        if name is not None:
            beside = [other_key for other_key in flat if normal(other_key) == normal(key)]
            ledger.uses.take(file, beside[0] if beside else key.split(".")[0], kind)
            return name
    return None


def _prompts(flat: Mapping[str, Any], what: str) -> list[Any]:
    """Messages of attributes such as ``gen_ai.prompt.0.content``."""
    parts: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        match = PROMPT.match(key)
        if match is None:
            continue
        side = match["side"] or SIDES[match["side2"]]
        place = int(match["place"] or match["place2"])
        if side == what:
            parts.setdefault(place, {})[match["part"] or match["part2"]] = value
    return [parts[place] for place in sorted(parts) if "content" in parts[place]]


def _first_messages(flat: Mapping[str, Any], keys: tuple[str, ...], role: str) -> list[Any]:
    for key in keys:
        value = flat.get(key)
        messages = _messages(value, role) if value is not None else []
        if messages:
            return messages
    return []


def _messages(value: Any, role: str) -> list[Any]:
    """Messages of an input or output in any of its shapes; a bare text is one of `role`."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("[", "{")):
            try:
                return _messages(json.loads(text), role)
            except ValueError:
                pass
        return [{"role": role, "content": value}] if text else []
    if isinstance(value, list):
        return [message for entry in value for message in _messages_of_entry(entry, role)]
    if isinstance(value, Mapping):
        for key in (
            "messages",
            "choices",
            "generations",
            "message",
            "input",
            "output",
            "body",
            "chat_history",
        ):
            if value.get(key) and not (key in ("input", "output") and isinstance(value[key], str)):
                return _messages(value[key], role)
        return _messages_of_entry(value, role)
    return []


def _messages_of_entry(entry: Any, role: str) -> list[Any]:
    if isinstance(entry, str):
        return [{"role": role, "content": entry}] if entry.strip() else []
    if isinstance(entry, list):
        return _messages(entry, role)
    if not isinstance(entry, Mapping):
        return []
    inner = entry.get("message")
    if isinstance(inner, Mapping):
        return _messages_of_entry(inner, role)
    if isinstance(entry.get("kwargs"), Mapping) and not isinstance(entry.get("id"), list):
        return _messages_of_entry(entry["kwargs"], role)
    names = {normal(key) for key in entry}
    if names & {"role", "type"} and names & {"content", "text", "parts", "data", "tool_calls",
                                             "summary", "arguments", "output",
                                             "kwargs"}:  # fmt: skip
        return [entry]
    for key in ("content", "text", "generated_text", *ONLY_TEXT):
        if isinstance(entry.get(key), str) and entry[key].strip():
            return [{"role": role, "content": entry[key]}]
    return []
