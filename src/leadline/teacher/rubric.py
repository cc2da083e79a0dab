"""The rubric: what a teacher model is told, the shape of its answer, and how that is read.

All wording lies in `rubric.toml` beside this module. The answer is nine item scores, each 0-3
or null for "no evidence", each with a confidence and a quoted span, and the total. Items are
scored one at a time with evidence before the score, since a lone total invites a guess from
the tone of the text.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from leadline.errors import LeadlineError
from leadline.teacher.transcript import person_words

HIGHEST_TOTAL = 27

STRAIGHT = str.maketrans("\u2019\u2018\u201c\u201d", "''\"\"")  # typographic quotation marks

FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def _choice(top: int) -> Any:
    """An integer of 0..top, an enumeration in the schema: servers enforce that, not ranges."""
    schema = {"type": "integer", "enum": list(range(top + 1))}
    return Annotated[int, Field(ge=0, le=top), WithJsonSchema(schema)]


if TYPE_CHECKING:
    ItemScore = int
    TotalScore = int
else:
    ItemScore = _choice(3)
    TotalScore = _choice(HIGHEST_TOTAL)


class ItemRating(BaseModel):
    """One PHQ-9 item: the evidence, then the score, then how sure the rater is."""

    model_config = ConfigDict(extra="forbid")

    quote: str
    score: ItemScore | None
    confidence: Literal["low", "medium", "high"]


class Rating(BaseModel):
    """A teacher's whole answer, in the order of the PHQ-9."""

    model_config = ConfigDict(extra="forbid")

    anhedonia: ItemRating
    low_mood: ItemRating
    sleep: ItemRating
    fatigue: ItemRating
    appetite: ItemRating
    worthlessness: ItemRating
    concentration: ItemRating
    psychomotor: ItemRating
    self_harm: ItemRating
    total: TotalScore

    def items(self) -> list[ItemRating]:
        """The nine item ratings in the order of the PHQ-9."""
        return [getattr(self, name) for name in ITEM_NAMES]

    def scores(self) -> list[int | None]:
        """The nine scores, None where the rater saw no evidence."""
        return [item.score for item in self.items()]

    def quotes(self) -> list[str]:
        """The quoted spans that are not empty."""
        return [item.quote for item in self.items() if item.quote.strip()]


ITEM_NAMES = tuple(name for name in Rating.model_fields if name != "total")


@dataclass(frozen=True)
class Rubric:
    """The loaded rubric file.

    Attributes:
        version: ``"<declared version>-<first 8 hex digits of the file's SHA-256>"``.
        instructions: how to rate.
        asks: what each item asks, in the order of the PHQ-9.
    """

    version: str
    instructions: str
    asks: tuple[str, ...]


@cache
def load_rubric(path: Path | None = None) -> Rubric:
    """A rubric file, or the one that ships with this version of Leadline.

    Raises:
        LeadlineError: the file cannot be read, or does not ask the nine items in their order.
    """
    shipped = files("leadline.teacher").joinpath("rubric.toml")
    try:
        raw = shipped.read_bytes() if path is None else path.read_bytes()
        content = tomllib.loads(raw.decode("utf-8"))
        names = tuple(str(item["name"]) for item in content["items"])
        if names != ITEM_NAMES:
            raise LeadlineError(
                f"Item {_first_other(names)} of this rubric is not the item of the PHQ-9.",
                remedy=f"Name them {', '.join(ITEM_NAMES)}, in this order.",
                file=path,
            )
        return Rubric(
            version=f"{content['version']}-{hashlib.sha256(raw).hexdigest()[:8]}",
            instructions=str(content["instructions"]).strip(),
            asks=tuple(str(item["asks"]) for item in content["items"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LeadlineError(
            f"This rubric cannot be read ({type(error).__name__}).",
            remedy="Begin with a copy of leadline/teacher/rubric.toml: version, instructions, and "
            "for each of the nine items name and asks.",
            file=path,
        ) from error


def _first_other(names: tuple[str, ...]) -> int:
    """The number, from 1, of the first item that is absent or has another name."""
    pairs = zip_longest(names, ITEM_NAMES)
    return next(number for number, (name, right) in enumerate(pairs, 1) if name != right)


@cache
def answer_schema() -> dict[str, Any]:
    """The JSON schema of `Rating`, as both providers take it for structured output.

    Every object forbids other keys and requires all of its own; ranges are enumerations. So it
    is within the subset that strict structured output enforces.
    """
    schema = Rating.model_json_schema()
    _plain(schema)
    return schema


def _plain(node: Any) -> None:
    """Drop titles and descriptions, which cost tokens."""
    if isinstance(node, dict):
        for key in ("title", "description"):
            if not isinstance(node.get(key), dict):
                node.pop(key, None)
        for value in node.values():
            _plain(value)
    elif isinstance(node, list):
        for value in node:
            _plain(value)


OVERHEAD_TOKENS = 1000 + len(json.dumps(answer_schema()))  # what a server adds to a prompt


@dataclass(frozen=True)
class FewShotExample:
    """One few-shot example: a rendered transcript and its gold answer.

    Attributes:
        person_id: whose it is. Local only: an ancestor of every label made with it.
        transcript: the text as `readings.render` gives it.
        scores: the nine gold scores, None where not answered or unknown.
        total: the gold total.
    """

    person_id: str
    transcript: str
    scores: tuple[int | None, ...]
    total: int


def system_prompt(rubric: Rubric, examples: tuple[FewShotExample, ...] = ()) -> str:
    """What the teacher is told before the transcript; the same for all people of a run."""
    numbered = "\n".join(
        f"{number}. {name}: {asks}"
        for number, (name, asks) in enumerate(zip(ITEM_NAMES, rubric.asks, strict=True), start=1)
    )
    parts = [rubric.instructions, "The nine items:\n" + numbered, _format_note()]
    for number, example in enumerate(examples, start=1):
        answered = {
            name: score
            for name, score in zip(ITEM_NAMES, example.scores, strict=True)
            if score is not None
        }
        parts.append(
            f"Example {number}. What another person said:\n"
            f"<conversation>\n{example.transcript}\n</conversation>\n"
            f"Their own answers: {json.dumps({**answered, 'total': example.total})}"
        )
    return "\n\n".join(parts)


def user_prompt(transcript: str) -> str:
    """The request itself: one rendered transcript."""
    return f"<conversation>\n{transcript}\n</conversation>\n\nRate the person. Answer in JSON only."


def _format_note() -> str:
    """The answer's shape in words, for servers that do not enforce a schema."""
    item = '{"quote": "...", "score": 0|1|2|3|null, "confidence": "low"|"medium"|"high"}'
    fields = ",\n".join(f'  "{name}": {item}' for name in ITEM_NAMES)
    return (
        "Answer with one JSON object of exactly this shape and nothing else:\n"
        f'{{\n{fields},\n  "total": 0-27\n}}'
    )


def parse_rating(reply: str) -> Rating | None:
    """Read a reply; None if it is not exactly one valid rating.

    A code fence around the object is taken off. Nothing else is repaired: a reply that has to
    be guessed at is recorded as invalid and never becomes a label.
    """
    fenced = FENCE.match(reply)
    try:
        return Rating.model_validate_json(fenced.group(1) if fenced else reply, strict=True)
    except ValidationError:
        return None


def quotes_found(rating: Rating, transcript: str) -> tuple[int, int]:
    """How many spans were quoted, and how many of them the person said.

    A quote of the assistant's words does not count as found. Case, runs of white space and
    the shape of quotation marks are ignored.
    """
    text = _flat(person_words(transcript))
    quotes = [_flat(quote).strip(" .,;:!?\"'") for quote in rating.quotes()]
    return len(quotes), sum(bool(quote) and quote in text for quote in quotes)


def _flat(text: str) -> str:
    return " ".join(text.translate(STRAIGHT).casefold().split())
