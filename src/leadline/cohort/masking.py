"""Spans that look like an administered questionnaire: what could leak the label.

If the app asks the PHQ-9 in the chat, or a person quotes their score, a model can read the
label off the text. Four kinds of span are found: a turn of somebody else that asks items, in the
questionnaire's wording or in other words, the answers after it, listed answers, and a quoted
score. A span depends only on its own message and earlier ones, so masking keeps running estimates
causal.

A turn asks where it names a symptom of an item (`cues`, in the languages of `phq9.wordings`) and
offers the scale from 0 to 3, or asks how often in the last two weeks, or uses the wording of two
items; or where the questionnaire is under way: items were asked, the scale was announced, or
questions about symptoms were answered with nothing but a number or words of the scale three times
in a row, and that up to `NEXT_ITEM` messages ago.

Earlier messages are all those of the person, in the order in which they are read: a question that
ends one conversation may be answered at the start of the next. Whoever masks or counts spans
(`mask_timeline`, `mask_continuation`, `cohort_spans`) goes through the same walk.

Talk of sleep, mood or tiredness without scale or frequency is not flagged. What is not seen: items
asked in free words and answered in free words, and languages that have no wordings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.cues import answer_pattern, cues_of, is_bare_answer, may_hold_cues
from leadline.cohort.timeline import Message, Timeline
from leadline.cohort.words import word_count

BLANK = "[questionnaire]"

ASKED, ANSWERED, QUOTED, LISTED = "asked items", "answered items", "quoted score", "listed answers"

# Phrases of the items that ordinary talk rarely has in this form.
_ITEM = re.compile(
    r"little interest or pleasure in doing"
    r"|(?:feeling )?down,? depressed,? (?:or|and) hopeless"
    r"|trouble (?:falling|staying)(?: asleep)?(?:,? or (?:staying|falling))? asleep"
    r"|sleeping too much"
    r"|feeling tired or having little energy"
    r"|poor appetite or over-?eating"
    r"|feeling bad about yourself,? (?:or|-|\u2013|\u2014) ?(?:that )?"
    r"|let (?:yourself|myself) or your family down"
    r"|trouble concentrating on things"
    r"|moving or speaking so slowly|fidgety or restless that"
    r"|(?:better off dead|hurting yourself in some way)",
    re.IGNORECASE,
)

_FRAME = re.compile(
    r"how often (?:have|has|were|are|did) (?:you|they)\b[^.?!]{0,60}\b(?:bother|experienc|felt|had)"
    r"|\bbothered by\b[^.?!]{0,80}\b(?:problems?|following|any of|last|past)"
    r"|(?:over|in|during) the (?:last|past) (?:two|2) weeks?,? how (?:often|many days)"
    r"|several days\b.{0,60}\bmore than half the days\b.{0,60}\bnearly every day"
    r"|\bon a scale (?:of|from) 0 (?:to|-|\u2013) 3\b|\b0\s*[=:]\s*not at all\b"
    r"|\bphq[- ]?[289]\b",
    re.IGNORECASE | re.DOTALL,
)

_SCALE_WORDS = r"not at all|several days|more than half (?:of )?the days|nearly every ?day"

_ANSWER = re.compile(rf"\b(?:{_SCALE_WORDS})\b|(?<![\d.,/])[0-3](?![\d/]|[.,]\d)", re.IGNORECASE)

_LIST = re.compile(r"(?<![\d.])(?:[0-3](?:\s*+[,;/]\s*+|[^\S ]*+ \s*+)){6,8}[0-3](?![\d.])")

_NUMBER = (
    r"(?:1\d|2[0-7]|\d)"
    r"(?!\d|[.:]\d|\s*(?:%|am\b|pm\b|days?\b|weeks?\b|months?\b|years?\b|times?\b))"
)

_QUOTE = re.compile(
    r"\bphq(?:[- ]?[289]\b)?+[^.?!\n\d]{0,50}?\b" + _NUMBER + r"(?:\s*(?:/|out of|of)\s*2[47])?"
    r"|\bscor(?:e|ed|ing)\b[^.?!\n\d]{0,30}\b" + _NUMBER + r"\s*(?:/|out of|of)\s*2[47]\b"
    r"|\b(?:scored|got|had)\s+(?:an?\s+)?" + _NUMBER + r"\s+(?:on|in|for)\s+(?:the|my|that)\s+"
    r"(?:phq|depression|mood)[- ]?(?:9\b|8\b|test|questionnaire|scale|screen\w*|survey)?"
    r"|\bdepression (?:score|test|scale|questionnaire|screen\w*)\b[^.?!\n\d]{0,25}"
    r"\b(?:is|was|were|of|at|says|said|came)\b[^.?!\n\d]{0,15}\b" + _NUMBER,
    re.IGNORECASE,
)

CANDIDATE = (  # or a cue: any span needs one in its own message or, for answers, in one before
    r"(?i)phq|little interest or pleasure|depressed,? (?:or|and) hopeless|little energy|"
    r"appetite or over|asleep|sleeping too much|bad about yourself|family down|"
    r"concentrating on things|speaking so slowly|fidgety|off dead|hurting yourself|"
    r"how often|how many days|bothered by|half the days|scale (?:of|from) 0|not at all|"
    r"scor(?:e|ed|ing)|depression|(?:got|had) (?:an? )?\d|(?:[0-3]\s*[,;/ ]\s*){6}"
)

DETECTOR = "by cues, across conversations"
"""Which detector masks, as labels and runs record it: what it blanks is not read."""

NEXT_ITEM = 4  # messages within which a bare item phrase continues a questionnaire

SHORT_ANSWER = 12  # words; of longer replies only the words of the scale are blanked

SHORTEST_ANSWER = 4  # words up to which the next reply to an item is its answer, whatever it says

ALL_ANSWERS = 5  # numbers from 0 to 3 from which a reply of any length is a list of answers

MANY_ITEMS = 4  # symptoms in one question of frequency that needs no period

FEWEST_PAIRS = 3  # questions about symptoms, answered by numbers, that begin a questionnaire


class TextSpan(NamedTuple):
    """Characters `start` to `stop` of message number `message`, and why."""

    message: int
    start: int
    stop: int
    reason: str


class Asked(NamedTuple):
    """What earlier messages mean for the next: what `questionnaire_spans` carries along.

    Attributes:
        expects_answer: the last message of another than the person asked an item, so answers may
            follow.
        since: messages since the questionnaire was last under way; from `NEXT_ITEM` + 1 on it does
            not matter.
        names_symptom: the last message of another asked about a symptom in whatever words.
        pairs: such questions in a row that were answered by a number or words of the scale.
    """

    expects_answer: bool = False
    since: int = NEXT_ITEM + 1
    names_symptom: bool = False
    pairs: int = 0

    def skip(self, count: int) -> Asked:
        """The same after `count` more messages, one of another than the person among them.

        None of them asks, quotes or lists anything, names a symptom or is a bare answer.
        """
        return Asked(False, min(self.since + count, NEXT_ITEM + 1))

    def aged(self) -> Asked:
        """The same one message later."""
        return self._replace(since=min(self.since, NEXT_ITEM) + 1)


NOT_ASKED = Asked()


def questionnaire_spans(messages: Sequence[Message], before: Asked = NOT_ASKED) -> list[TextSpan]:
    """Find questionnaire-like spans in what a person said and heard, in order.

    Args:
        messages: of one person, all roles and conversations, in the order of reading.
        before: what was asked before the first of them.
    """
    return _walk(messages, before)[0]


def _walk(messages: Sequence[Message], before: Asked) -> tuple[list[TextSpan], Asked]:
    spans: list[TextSpan] = []
    asked_before = before
    for number, message in enumerate(messages):
        hear = _hear_person if message.role == "user" else _hear_others
        new_spans, asked_before = hear(number, message.text, asked_before)
        spans += new_spans
        asked_before = asked_before.aged()
    return spans, asked_before


def _hear_others(number: int, text: str, before: Asked) -> tuple[list[TextSpan], Asked]:
    """Spans of what somebody else said, and what it means for the next message."""
    under_way = before.since <= NEXT_ITEM
    cues = cues_of(text)
    asks = _asks_in_english(text, under_way=under_way) or (
        bool(cues.items)
        and (
            cues.scale
            or (cues.often and (cues.period or len(cues.items) >= MANY_ITEMS))
            or len(cues.worded) >= 2
            or (bool(cues.worded) and cues.often)
            or (under_way and (cues.question or bool(cues.worded)))
        )
    )
    if asks:
        return [TextSpan(number, 0, len(text), ASKED)], Asked(True, 0)
    names_symptom = bool(cues.items) and cues.question
    pairs = before.pairs if names_symptom else 0
    announced = cues.scale or (cues.often and cues.period)
    since = 0 if announced else before.since
    return _found(number, text, _QUOTE, QUOTED), Asked(False, since, names_symptom, pairs)


def _asks_in_english(text: str, *, under_way: bool) -> bool:
    """Two item phrases, or one beside the frame or scale, or one where items were just asked."""
    items = {match.group(0).lower() for match in _ITEM.finditer(text)}
    if len(items) >= 2:
        return True
    return bool(items) and (under_way or _FRAME.search(text) is not None)


def _hear_person(number: int, text: str, before: Asked) -> tuple[list[TextSpan], Asked]:
    """Spans of what the person said, and what it means for the next message."""
    under_way = before.since <= NEXT_ITEM
    after = before
    if not before.expects_answer and (before.names_symptom or under_way):
        bare = is_bare_answer(text, alone=not under_way)
        pairs = before.pairs + 1 if bare and before.names_symptom else 0
        under_way = under_way or pairs >= FEWEST_PAIRS
        after = before._replace(
            pairs=pairs, names_symptom=False, since=0 if bare and under_way else before.since
        )
        if bare and under_way:
            return [TextSpan(number, 0, len(text), ANSWERED)], after
    if not before.expects_answer:
        return _user_spans(number, text, after_item=False), after
    return _user_spans(number, text, after_item=True, is_next=before.since <= 1), after


def _user_spans(
    number: int, text: str, *, after_item: bool, is_next: bool = False
) -> list[TextSpan]:
    spans = _found(number, text, _LIST, LISTED)
    if after_item:
        answers = _found(number, text, _ANSWER, ANSWERED)
        words = _found(number, text, answer_pattern(), ANSWERED)
        if _is_answer(text, len(answers), bool(answers or words), is_next=is_next):
            return [TextSpan(number, 0, len(text), ANSWERED)]
        spans += [span for span in answers if not text[span.start : span.stop].isdigit()] + words
    spans += _found(number, text, _QUOTE, QUOTED)
    return _merged(spans)


def _is_answer(text: str, numbers: int, names_answer: bool, *, is_next: bool) -> bool:
    """Whether a whole reply to an item is its answer.

    Args:
        text: what the person said after the item, before anybody else spoke.
        numbers: how many numbers from 0 to 3 or English answers it holds.
        names_answer: it holds an answer in numbers or words of any language.
        is_next: it is the first that the person said.
    """
    words = word_count(text)
    return (
        (is_next and words <= SHORTEST_ANSWER)
        or (names_answer and words <= SHORT_ANSWER)
        or numbers >= ALL_ANSWERS
        or is_bare_answer(text)
    ) and bool(text.strip())


def _found(number: int, text: str, pattern: re.Pattern[str], reason: str) -> list[TextSpan]:
    return [TextSpan(number, *match.span(), reason) for match in pattern.finditer(text)]


def _merged(spans: Sequence[TextSpan]) -> list[TextSpan]:
    """Overlapping spans of a message as one, under the reason of the first."""
    merged: list[TextSpan] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].stop:
            last = merged[-1]
            merged[-1] = last._replace(stop=max(last.stop, span.stop))
        else:
            merged.append(span)
    return merged


def blank_spans(
    messages: Sequence[Message], spans: Sequence[TextSpan], blank: str = BLANK
) -> list[Message]:
    """The messages with each span replaced by `blank`, for reading; the input is unchanged."""
    result = list(messages)
    for span in sorted(spans, reverse=True):
        role, text = result[span.message]
        result[span.message] = Message(role, text[: span.start] + blank + text[span.stop :])
    return result


def mask_messages(messages: Sequence[Message]) -> list[Message]:
    """`blank_spans` of `questionnaire_spans`."""
    return blank_spans(messages, questionnaire_spans(messages))


def mask_continuation(messages: Sequence[Message], before: Asked) -> tuple[list[Message], Asked]:
    """`mask_messages` for messages that go on after others, and what they mean for the next.

    Args:
        messages: the new messages, in order.
        before: what the call for the messages before them gave; `NOT_ASKED` at the start.
    """
    spans, after = _walk(messages, before)
    return blank_spans(messages, spans), after


def mask_timeline(timeline: Timeline, window: WindowConfig) -> Timeline:
    """The timeline as it is read: with questionnaire spans blanked if the window says so."""
    if not window.mask_questionnaire:
        return timeline
    return replace(timeline, messages=tuple(mask_messages(timeline.messages)))


def mask_people(people: Sequence[Timeline], window: WindowConfig) -> list[Timeline]:
    """`mask_timeline` of each."""
    return [mask_timeline(person, window) for person in people]


def cohort_spans(turns: pl.DataFrame) -> pl.DataFrame:
    """The spans that `mask_timeline` blanks, found without reading every turn in Python.

    Returns:
        One row a span: person_id, conversation_id, turn, start, stop, reason. No text.
    """
    rows: list[tuple[str, str, int, int, int, str]] = []
    for (person,), group in _telling_turns(turns).group_by("person_id", maintain_order=True):
        before, reached = NOT_ASKED, 0
        columns = group.select("place", "conversation_id", "turn", "role", "text")
        for place, conversation, turn, role, text in columns.iter_rows():
            if place > reached:
                before = before.skip(place - reached)
            spans, before = _walk([Message(role, text)], before)
            reached = place + 1
            rows += [(str(person), conversation, turn, *span[1:]) for span in spans]
    schema = {"person_id": pl.String(), "conversation_id": pl.String(), "turn": pl.Int32(),
              "start": pl.Int64(), "stop": pl.Int64(), "reason": pl.String()}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _telling_turns(turns: pl.DataFrame) -> pl.DataFrame:
    """The turns that may hold a span, each with its `place` among the turns of its person.

    Those are the candidates, and what the person says after a candidate of somebody else. So a
    turn that is left out follows no question, or is what somebody else says instead of one.
    """
    candidate = pl.col("text").str.contains(CANDIDATE) | may_hold_cues(pl.col("text"))
    answering = pl.when(pl.col("role") != "user").then("candidate").forward_fill().over("person_id")
    place = pl.int_range(pl.len()).over("person_id").alias("place")
    table = turns.lazy().with_columns(place, candidate=candidate)
    return table.filter(pl.col("candidate") | answering).collect()
