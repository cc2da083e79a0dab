"""From messages to tokens: the conversation template, whose token is whose, what fits.

Each message becomes a *piece*: the role's opening tokens, the tokens of its own words, the
role's closing tokens. A piece does not depend on its neighbours, so a conversation's tokens
are its pieces put end to end, and a new message only appends. Special tokens that a person
types are read as plain characters: nobody can close their own turn and open another's.

When a conversation outgrows the context budget, it is read in several *passes*. The rule
(`plan_passes`) looks at the lengths of the pieces so far and at nothing else, so reading
message by message and reading at once divide it in the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from leadline.cohort.timeline import Message

ROLE_NAMES = {
    "user": "user",
    "assistant": "assistant",
    "clinician": "assistant",
    "system": "system",
}


class Piece(NamedTuple):
    """One message as tokens; ``ids[start:stop]`` are the tokens of its own words."""

    ids: list[int]
    start: int
    stop: int
    user: bool


class Pass(NamedTuple):
    """Messages ``first..end-1`` are in context; states are taken for ``first_new..end-1``."""

    first: int
    first_new: int
    end: int


@dataclass(frozen=True)
class Template:
    """What stands before and after a message's words, by role name, and at the very start."""

    name: str
    before: dict[str, str]
    after: dict[str, str]
    start: str = ""


PLAIN = Template(
    "plain",
    {"user": "User: ", "assistant": "Assistant: ", "system": "System: "},
    {"user": "\n", "assistant": "\n", "system": "\n"},
)


def chat_template(tokenizer: Any) -> Template:
    """The tokenizer's own conversation format, or a plain one where it has none.

    The format is read off the tokenizer's chat template by rendering marked messages and
    looking at what surrounds the marks; no default system prompt is taken along. A template
    from which role openings and closings cannot be told (it merges, reorders or requires
    something else) gives `PLAIN`.
    """
    start = tokenizer.bos_token or ""
    if not getattr(tokenizer, "chat_template", None):
        return Template(PLAIN.name, PLAIN.before, PLAIN.after, start)
    vocabulary = tokenizer.get_vocab()
    if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
        roles = ("user", "assistant", "system")
        before = {role: f"<|im_start|>{role}\n" for role in roles}
        return Template("chatml", before, dict.fromkeys(roles, "<|im_end|>\n"))
    return _probe(tokenizer, start) or Template(PLAIN.name, PLAIN.before, PLAIN.after, start)


def _probe(tokenizer: Any, start: str) -> Template | None:
    marks = [f"Mark{number}end" for number in range(5)]
    roles = ["user", "assistant", "user", "assistant", "user"]
    turns = [{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    short = str(tokenizer.apply_chat_template(turns[:3], tokenize=False))
    if any(text.count(mark) != 1 for mark in marks):
        return None
    after_user = text.split(marks[4])[1]
    between = [text.split(a)[1].split(b)[0] for a, b in pairwise(marks)]
    if (
        short.split(marks[2])[1] != after_user
        or between[0] != between[2]
        or between[1] != between[3]
        or not between[0].startswith(after_user)
    ):
        return None
    # What lies between an assistant's words and a user's is closing plus opening; the cut
    # does not matter, because the two always follow each other, so it is all opening.
    before = {"user": between[1], "assistant": between[0][len(after_user) :]}
    before["system"] = before["user"]
    return Template("probed", before, {"user": after_user, "assistant": "", "system": ""}, start)


class Tokens:
    """Turns messages into pieces with one tokenizer and one template."""

    def __init__(self, tokenizer: Any, template: Template) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.start = self._marks(template.start)
        self._before = {role: self._marks(text) for role, text in template.before.items()}
        self._after = {role: self._marks(text) for role, text in template.after.items()}

    def _marks(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _words(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return [list(ids) for ids in encoded["input_ids"]]

    def pieces(self, messages: Sequence[Message], limit: int) -> list[Piece]:
        """One piece a message. Words beyond `limit` tokens lose their beginning.

        A message without words is read at the last token of its role's opening.
        """
        words = self._words([message.text for message in messages])
        return [
            self._piece(message.role, ids, limit)
            for message, ids in zip(messages, words, strict=True)
        ]

    def _piece(self, role: str, words: list[int], limit: int) -> Piece:
        name = ROLE_NAMES[role]
        before, after = self._before[name], self._after[name]
        room = limit - len(self.start) - len(before) - len(after)
        words = words[-room:]
        ids = [*before, *words, *after]
        start = len(before) if words else len(before) - 1
        return Piece(ids, start, len(before) + len(words), role == "user")


def plan_passes(lengths: Sequence[int], budget: int) -> list[Pass]:
    """Divide messages into passes that fit `budget` tokens.

    Messages join the running pass while they fit. The first that does not starts a new pass,
    which begins at the earliest message such that everything from there up to and including
    the new one fills at most half the budget (the new message alone, if it is longer). So a
    message is read with at least the newest half budget of context less one message, and a
    conversation costs at most about twice its tokens however long it grows.

    Args:
        lengths: tokens of each message's piece, each at most `budget`.
        budget: tokens that a pass may hold.
    """
    passes: list[Pass] = []
    first = first_new = pass_tokens = 0
    for position, length in enumerate(lengths):
        if pass_tokens + length > budget and position > first:
            passes.append(Pass(first, first_new, position))
            first, pass_tokens = position, length
            while first > 0 and pass_tokens + lengths[first - 1] <= budget // 2:
                first -= 1
                pass_tokens += lengths[first]
            first_new = position
        else:
            pass_tokens += length
    if len(lengths):
        passes.append(Pass(first, first_new, len(lengths)))
    return passes
