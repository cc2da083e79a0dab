"""Which names out of a file a message may show, and how it points at the others.

A file without a header has somebody's words, identifiers or answers where names are looked for,
and so has an object whose keys are people. Nobody can tell such a name from an unusual one, so a
name is shown only if each of its words is one that columns and keys are commonly called; any other
is pointed at by its place: ``column 3``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence

from leadline.sources.names import (
    CONVERSATION,
    IDENTITY,
    OTHER_TIME,
    PERSON,
    ROLE,
    SCORE,
    TEXT,
    TIME,
    words,
)

MOST_LISTED = 30  # names that an error lists

LONGEST_NAME = 40  # letters of a name that an error shows

MOST_WORDS = 5  # of a name that an error shows

COMMON = frozenset((
    "at", "of", "by", "in", "to", "on", "is", "has", "from", "type", "kind", "status", "state",
    "label", "labels", "value", "values", "answer", "answers", "response", "responses", "question",
    "questions", "prompt", "completion", "reply", "request", "query", "input", "inputs", "output",
    "outputs", "result", "results", "rating", "item", "items", "field", "form", "event", "events",
    "index", "position", "order", "turn", "turns", "row", "line", "record", "records", "source",
    "target", "channel", "platform", "language", "locale", "age", "gender", "sex", "site", "arm",
    "group", "cohort", "condition", "country", "education", "study", "survey",
    "questionnaire", "instrument", "measure", "scale", "test", "version", "model", "system",
    "bot", "assistant", "agent", "human", "ai", "therapist", "counselor", "clinician",
    "interviewer", "author", "speaker", "sender", "recipient", "messages", "conversations",
    "dialogues", "utterances", "history", "data", "meta", "metadata", "content", "contents",
    "parts", "mapping", "attachments", "likes", "replies", "notes", "note", "comment", "comments",
    "title", "subject", "tags", "url", "link", "file", "path", "size", "length", "count", "words",
    "deleted", "hidden", "internal", "incoming", "flag", "intent", "phq", "phq2", "phq8", "phq9",
    "phq15", "gad", "gad7", "severity", "baseline", "pre", "post", "followup",
    "week", "month", "visit", "wave", "timepoint", "year", "intake", "screening", "q", "nan",
    "column", "key", "missing", "mean", "sum", "binary", "alpha", "beta", "entry", "chosen",
    "rejected", "talker", "talk", "who", "plain",
    "payload", "create", "creation", "inserted", "inbound", "outbound", "parent", "children", "ms",
    "idx", "utc", "unixtime", "frage", "pregunta", "domanda", "pergunta", "antwort", "respuesta",
    "risposta", "resposta", "chatbot", "gpt", "linear", "log", "rows", "sessions", "chats",
    "threads", "dialogs", "contacts", "part", "node", "current", "choices", "usage",
    "says", "said", "spoken", "written", "typed", "queued",
))  # fmt: skip
"""Words of names that are about data and about nobody."""

SAID = frozenset(("death", "diagnosis"))
"""Words that a person may say by themselves."""

KNOWN = (COMMON | TIME | OTHER_TIME | PERSON | CONVERSATION | ROLE | TEXT | SCORE | IDENTITY) - SAID

NUMBERED = re.compile(r"^(\D+?)0?\d{1,2}$")

SMALL_NUMBER = re.compile(r"^\d{1,2}$")

PLACE = re.compile(r"\(at (line \d+, column \d+|end of document)\)$")


def is_sayable(name: str) -> bool:
    """Whether a name consists of known words, so that it can be no person's.

    >>> is_sayable("phq9_total"), is_sayable("item_3"), is_sayable("P017"), is_sayable("so tired")
    (True, True, False, False)
    """
    if len(name) > LONGEST_NAME:
        return False
    parts = words(name)
    if not 0 < len(parts) <= MOST_WORDS or not any(map(_is_known, parts)):
        return False
    return all(_is_known(part) or SMALL_NUMBER.match(part) for part in parts)


def _is_known(word: str) -> bool:
    match = NUMBERED.match(word)
    return word in KNOWN or (match is not None and match[1] in COMMON)


def sayable(name: str, otherwise: str = "NAME") -> str:
    """A name if it may be shown, else what stands in its place."""
    return name if is_sayable(name) else otherwise


def listed(
    names: Iterable[object],
    within: Sequence[object] | None = None,
    most: int = MOST_LISTED,
    what: str = "column",
) -> str:
    """Names out of a file for an error; those that may not be shown by their place.

    Args:
        names: the names.
        within: all names in their order, if `names` are some of them; places count from 1.
        most: how many are listed.
        what: what a name stands for.

    >>> listed(["person_id", "I feel so hopeless", "text"])
    'person_id, column 2, text'
    """
    chosen = [str(name) for name in names]
    order = [str(name) for name in (chosen if within is None else within)]
    places = {name: place for place, name in reversed(list(enumerate(order, 1)))}
    shown_names = [
        sayable(name, f"{what} {places[name]}" if name in places else f"a {what}")
        for name in chosen[:most]
        if name
    ]
    if len(chosen) > most:
        shown_names.append(f"and {len(chosen) - most} more")
    return ", ".join(shown_names)


def toml_place(error: tomllib.TOMLDecodeError) -> str:
    """Where TOML is wrong, without what stands there; "" where that is not known."""
    match = PLACE.search(str(error))
    return f" ({match[1]})" if match else ""
