"""How many questionnaires in chats the detector of `cohort.masking` finds, and its false alarms.

Three sources: the official wordings of each language, asked one by one after the questionnaire's
own introduction; the development wordings, on which the rules were set; and the held-out wordings,
which were written before the detector and never used to change it. Each is asked turn by turn; a
turn counts as found where its whole text is a span. Ordinary talk beside each must stay as it is.

False alarms on real text are counted where the measuring data is beside the checkout.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import data_folder, load_checkins
from bench.protocol import run_module
from leadline.cohort.masking import questionnaire_spans
from leadline.cohort.timeline import Message
from leadline.phq9.wordings import wordings

TAKES = "a few seconds; the false alarms on real text need the measuring data"
RESULT = "questionnaire_detection"

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


def measure(_args: argparse.Namespace) -> dict[str, Any]:
    """Recall by language and source, and false alarms by source."""
    files = {name: load(name) for name in ("development", "held_out")}
    sources = {name: entries["administered"] for name, entries in files.items()}
    alarms = {name: false_alarms(ordinary(entries)) for name, entries in files.items()}
    folder = data_folder()
    talks = {} if folder is None else real_talks(folder.parent)
    return {
        "recall": {
            name: recalls(entries) for name, entries in {"official": official(), **sources}.items()
        },
        "false_alarms": alarms | {name: false_alarms(part) for name, part in talks.items()},
    }


def _total(counts: Mapping[str, Mapping[str, int]], name: str) -> tuple[int, int]:
    """Found and all, over languages."""
    found = sum(count[f"{name}_found"] for count in counts.values())
    return found, sum(count[name] for count in counts.values())


def _cell(found: int, every: int) -> str:
    return "-" if not every else f"{found / every:.2f} ({found}/{every})"


def table_rows(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Language, official wordings, held-out questions and answers."""
    recall = results["recall"]
    lines = []
    for language in sorted(recall["official"]):
        cells = []
        for source, name in (
            ("official", "questions"),
            ("official", "answers"),
            ("held_out", "questions"),
            ("held_out", "answers"),
        ):
            count = recall[source].get(language, {})
            cells.append(_cell(count.get(f"{name}_found", 0), count.get(name, 0)))
        lines.append((f"{wordings()[language].name} (`{language}`)", " | ".join(cells)))
    totals = [
        _cell(*_total(recall[source], name))
        for source in ("official", "held_out")
        for name in ("questions", "answers")
    ]
    return [*lines, ("**all**", " | ".join(totals))]


def precision(results: Mapping[str, Any]) -> tuple[int, int]:
    """Held-out turns flagged, and those of them that belong to a questionnaire."""
    hits = sum(_total(results["recall"]["held_out"], name)[0] for name in ("questions", "answers"))
    return hits + results["false_alarms"]["held_out"]["turns_flagged"], hits


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Recall and precision on the held-out wordings, and false alarms."""
    held_out = results["recall"]["held_out"]
    flagged, right = precision(results)
    lines = [
        ("questionnaires with any turn found, held-out wordings",
         _cell(*_total(held_out, "questionnaires"))),
        ("questions found", _cell(*_total(held_out, "questions"))),
        ("answers found", _cell(*_total(held_out, "answers"))),
        ("precision, turns", _cell(right, flagged)),
    ]  # fmt: skip
    for name, count in results["false_alarms"].items():
        figure = f"{count['turns_flagged']} of {count['turns']:,} turns"
        lines.append((f"false alarms, {name.replace('_', '-')}", figure))
    return lines


if __name__ == "__main__":
    run_module()
