"""What is labelled: a person's messages up to a moment, and how a teacher sees them.

A reading carries the person's id so that its label finds its way home; the rendered
transcript, which is all that leaves this room, does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadline.cohort.timeline import Message
from leadline.cohort.words import word_count

SPEAKERS = {"user": "Person", "assistant": "Assistant", "clinician": "Clinician"}

MASK = "[name]"


@dataclass(frozen=True)
class TeacherReading:
    """One person's messages up to one moment.

    Attributes:
        person_id: whose they are; never sent anywhere.
        as_of: the moment that the label speaks of, in UTC; None where times are unknown.
        messages: all messages that count towards it, in order.
        first: index of the first of the person's user turns in it.
        last: index of the last one; tells readings apart where times are unknown.
        user_words: words of the user turns in it.
    """

    person_id: str
    as_of: datetime | None
    messages: tuple[Message, ...]
    first: int = 0
    last: int = 0

    @property
    def user_words(self) -> int:
        """Words that the person wrote in it."""
        return sum(word_count(item.text) for item in self.messages if item.role == "user")


def render(messages: Sequence[Message], person_id: str, *, max_chars: int = 0) -> str:
    """The transcript that a teacher reads: speakers by role, no ids, no times.

    System messages are left out; each message becomes one line, so no message can pass for
    another speaker's. Where the person's id occurs in the words themselves (a user
    name that an assistant greets, say), it is replaced by ``[name]``. If the text is longer
    than `max_chars` (0: no limit), the oldest messages go first, since the last weeks count.
    """
    lines = [
        f"{SPEAKERS[item.role]}: {' '.join(mask_id(item.text, person_id).split())}"
        for item in messages
        if item.role in SPEAKERS
    ]
    if max_chars:
        lines = _newest(lines, max_chars)
    return "\n".join(lines)


def mask_id(text: str, person_id: str) -> str:
    """Replace whole-word occurrences of an id by ``[name]``.

    Ids of one or two characters and short numbers are left alone: they are common words and
    numbers first, and blanking them would change what the person said.
    """
    if len(person_id) < 3 or (person_id.isdigit() and len(person_id) < 5):
        return text
    return re.sub(rf"(?<!\w){re.escape(person_id)}(?!\w)", MASK, text, flags=re.IGNORECASE)


def person_words(transcript: str) -> str:
    """The lines of a rendered transcript that the person said."""
    lead = SPEAKERS["user"] + ": "
    return "\n".join(
        line.removeprefix(lead) for line in transcript.splitlines() if line.startswith(lead)
    )


def _newest(lines: list[str], max_chars: int) -> list[str]:
    """The longest run of last lines within `max_chars`; the last line is cut if it must be."""
    newest: list[str] = []
    budget = max_chars
    for line in reversed(lines):
        if len(line) > budget:
            break
        newest.append(line)
        budget -= len(line) + 1
    if not newest and lines:
        return [lines[-1][-max_chars:]]
    return newest[::-1]


@dataclass(frozen=True)
class Request:
    """What a client may see of a request."""

    key: str
    system: str
    transcript: str
    draw: int
