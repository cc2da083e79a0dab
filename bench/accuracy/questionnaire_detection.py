"""How many questionnaires in chats the detector of `cohort.masking` finds, and its false alarms.

Three sources: the official wordings of each language, asked one by one after the questionnaire's
own introduction; the development wordings, on which the rules were set; and the held-out wordings,
which were written before the detector and never used to change it. Each is asked turn by turn; a
turn counts as found where its whole text is a span. Ordinary talk beside each must stay as it is.

False alarms on real text are counted where the measuring data is beside the checkout.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import load_checkins
from leadline.cohort.masking import questionnaire_spans
from leadline.cohort.timeline import Message
from leadline.phq9.wordings import wordings

FOLDER = Path(__file__).parent / "questionnaires"

ANSWERS = (2, 1, 3, 0, 1, 2, 0, 0, 3)


def official() -> list[dict[str, Any]]:
    """The questionnaire in each language's own words, answered by its words and by numbers."""
    return [
        {
            "language": name,
            "style": style,
            "intro": wording.question[0],
            "questions": [variants[0] for variants in wording.items],
            "answers": [
                wording.answers[value][0] if style == "words" else str(value) for value in ANSWERS
            ],
        }
        for name, wording in wordings().items()
        for style in ("words", "numbers")
    ]


def load(name: str) -> dict[str, Any]:
    """`development` or `held_out`."""
    entries: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return entries


def turns_of(entry: Mapping[str, Any]) -> tuple[list[Message], list[int], list[int]]:
    """The messages of an administered questionnaire; which are questions, which answers."""
    messages = [Message("user", "hello there"), Message("assistant", "Good to see you again.")]
    if "intro" in entry:
        messages += [Message("assistant", entry["intro"]), Message("user", "ok")]
    questions, answers = [], []
    for question, answer in zip(entry["questions"], entry["answers"], strict=True):
        questions.append(len(messages))
        answers.append(len(messages) + 1)
        messages += [Message("assistant", question), Message("user", answer)]
    return messages, questions, answers


def whole_spans(messages: Sequence[Message]) -> set[int]:
    """The messages that are blanked as a whole."""
    return {
        span.message
        for span in questionnaire_spans(messages)
        if (span.start, span.stop) == (0, len(messages[span.message].text))
    }


def recalls(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Language -> questions and answers, and how many of each were found."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in entries:
        messages, questions, answers = turns_of(entry)
        spans = whole_spans(messages)
        count = counts[entry["language"]]
        count["questionnaires"] += 1
        count["questionnaires_found"] += bool(spans & {*questions, *answers})
        for name, places in (("questions", questions), ("answers", answers)):
            count[name] += len(places)
            count[f"{name}_found"] += len(spans & set(places))
    return {language: dict(count) for language, count in sorted(counts.items())}


def false_alarms(talks: Sequence[Sequence[Message]]) -> dict[str, int]:
    """Turns of talk without a questionnaire, and how many of them hold a span."""
    return {
        "talks": len(talks),
        "talks_flagged": sum(bool(questionnaire_spans(talk)) for talk in talks),
        "turns": sum(map(len, talks)),
        "turns_flagged": sum(len({s.message for s in questionnaire_spans(talk)}) for talk in talks),
    }


def misses(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Turns that were not found, for the development wordings only."""
    for entry in entries:
        messages, questions, answers = turns_of(entry)
        spans = whole_spans(messages)
        for place in sorted({*questions, *answers} - spans):
            yield entry["language"], messages[place].text


def ordinary(entries: Mapping[str, Any]) -> list[list[Message]]:
    """The talk of a file that is no questionnaire."""
    return [[Message(*turn) for turn in talk["turns"]] for talk in entries["ordinary"]]


def real_talks(folder: Path) -> dict[str, list[list[Message]]]:
    """Real text beside the checkout, none of which holds a PHQ-9: name -> dialogues."""
    speakers = {"sys": "assistant", "usr": "user"}
    with (folder / "support_dialogues" / "dialogues.jsonl").open(encoding="utf-8") as lines:
        support = [
            [
                Message(speakers[turn["speaker"]], turn["text"])
                for turn in json.loads(line)["dialog"]
            ]
            for line in lines
        ]
    with (folder / "real_chats" / "chats.jsonl").open(encoding="utf-8") as lines:
        chats = [
            [Message(turn["role"], turn["content"]) for turn in json.loads(line)["turns"]]
            for line in lines
        ]
    checkins = [person.messages for person in load_checkins()]
    return {"support dialogues": support, "chats": chats, "check-ins": checkins}
