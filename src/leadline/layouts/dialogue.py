"""From the messages of one conversation to raw turns: what is left out, repeated, or undated.

Every reader of JSON hands its conversations over here, so that one rule holds for all of them: each
message becomes a turn, or is left out by rule and counted, or is bad and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.layouts.branches import active_branch
from leadline.layouts.message import (
    ID_KEYS,
    Keys,
    LogMessage,
    author_identity,
    fields_of,
    read_message,
)
from leadline.layouts.unsaid import BRANCHES, REPEATS, ROLE_WORDS
from leadline.sources.config import ImportConfig
from leadline.sources.names import looks_like, normal, usual_place
from leadline.sources.quoting import listed
from leadline.sources.records import RawTurns, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN

LEVEL = "messages[]."

FROM_CONVERSATION = "turns without a time, dated by their conversation"

FROM_NEXT = "turns without a time, dated by the next turn that has one"

START_KEYS = ("created_at", "create_time", "started_at", "start_time", "timestamp", "time", "date",
              "created", "created_on", "date_created", "opened_at", "datetime", "session_date",
              "conversation_date", "start")  # fmt: skip

LONG = 3  # messages that two conversations of different names may not share by chance


@dataclass
class Dialogue:
    """One conversation before its messages are read.

    Attributes:
        where: locator of its record.
        person: identifier of the person.
        conversation: its name.
        messages: as the source has them.
        places: locator of each message.
        record: what the source says beside the messages.
        growing: what it may repeat: ``no`` (it has a name of its own), ``maybe`` (it has none, so
            that it may be a longer copy of an earlier one), ``log`` (a request, which repeats what
            was said before).
        current: id of the message that ends the active branch, if the source says so.
    """

    where: str
    person: str
    conversation: str
    messages: list[Any]
    places: list[str]
    record: Mapping[str, Any] = field(default_factory=dict)
    growing: str = "no"
    current: str | None = None


@dataclass
class Turn:
    """A message that is a turn, with the place where it lies."""

    place: str
    message: LogMessage
    speaker: Any
    author: str | None = None


Speaker = Callable[[Mapping[str, Any], LogMessage], Any]


@dataclass
class DialogueWriter:
    """Writes conversations as raw turns and knows what it has written before.

    Attributes:
        rows: where raw turns go.
        settings: keys and roles that are given.
        ledger: counts.
        speaker: who speaks, where a layout knows better than the message.
        chains: person -> hash of a beginning of a conversation -> that conversation; and whether
            the conversation ends there.
    """

    rows: RawTurns
    settings: ImportConfig
    ledger: RejectedRows
    speaker: Speaker | None = None
    chains: dict[str, dict[int, tuple[str, bool]]] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    key_sets: set[tuple[str, ...]] = field(default_factory=set)
    uses: set[tuple[str, str]] = field(default_factory=set)
    times: list[Any] = field(default_factory=list)
    bodies: dict[tuple[str, str, str], int] = field(default_factory=dict)
    keys: Keys = field(init=False)
    roles: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = Keys(self.settings.role_key, self.settings.text_key, self.settings.time_key)
        self.roles = self.settings.roles()

    @property
    def file(self) -> Path:
        """The file that is read."""
        return self.rows.file

    def write(self, dialogue: Dialogue) -> None:
        """Write the turns of a conversation that were not written before."""
        pairs_once = self._unrepeated(self._branch(dialogue))
        turns = [turn for place, raw in pairs_once if (turn := self._turn(place, raw)) is not None]
        if len({turn.author for turn in turns} - {None}) > 1:
            self.rows.lose(dialogue.where, *SEVERAL, len(turns))
            return
        conversation = self._new_part(dialogue, turns)
        if conversation is None:
            return
        name, start = conversation
        if start:
            self.rows.omit(REPEATS, start)
        self._date(turns, dialogue.record)
        for turn, time in zip(turns[start:], self.times[start:], strict=True):
            text = turn.message.text
            self.rows.add(turn.place, dialogue.person, name, turn.speaker, text, time)

    def write_alone(self, place: str, raw: Any, person: str, conversation: str) -> None:
        """Write a message that is a record of its own, if it was not written before."""
        name = _message_id(raw)
        if name is not None:
            body = hash(_body(raw))
            earlier = self.bodies.get((person, conversation, name))
            if earlier == body:
                self.rows.omit(REPEATS)
                return
            if earlier is not None:
                self.rows.lose(place, *TWICE)
                return
            self.bodies[person, conversation, name] = body
        turn = self._turn(place, raw)
        if turn is not None:
            message = turn.message
            self.rows.add(place, person, conversation, turn.speaker, message.text, message.time)

    def _branch(self, dialogue: Dialogue) -> list[tuple[str, Any]]:
        branch = active_branch(dialogue.messages, dialogue.current)
        pairs = list(zip(dialogue.places, dialogue.messages, strict=True))
        if branch is None:
            return pairs
        self.rows.omit(BRANCHES, branch.left_out)
        return [pairs[place] for place in branch.places]

    def _unrepeated(self, pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Messages without those whose identifier and words were there already."""
        identifiers = [_message_id(raw) for _, raw in pairs]
        if len(set(identifiers) - {None}) * 2 <= len(identifiers):
            return pairs  # one identifier for all is none of a message
        bodies: dict[str, list[Any]] = {}
        pairs_once = []
        for (place, raw), name in zip(pairs, identifiers, strict=True):
            if name is None:
                pairs_once.append((place, raw))
                continue
            body = _body(raw)
            if name not in bodies:
                bodies[name] = [body]
                pairs_once.append((place, raw))
            elif body in bodies[name]:
                self.rows.omit(REPEATS)
            else:
                self.rows.lose(place, *TWICE)
        return pairs_once

    def _turn(self, place: str, raw: Any) -> Turn | None:
        """The turn of a message; None where it is left out or bad."""
        if not isinstance(raw, Mapping):
            problem = "The message is not a JSON object."
            self.rows.lose(place, problem, "Give it a role and a text.")
            return None
        message = read_message(raw, self.keys)
        self._meet(raw, message)
        if message.time is None and not message.omitted and not self.settings.time_key:
            check_one_time(raw, self.file, place)
        speaker = self.speaker(raw, message) if self.speaker else message.speaker
        for note in message.notes:
            self.ledger.note(note)
        is_named = isinstance(speaker, str) and speaker in self.roles
        by_role = isinstance(speaker, str) and ROLE_WORDS.get(speaker.lower()) == message.omitted
        if message.omitted and not (is_named and by_role):  # --role tool=system keeps tools
            self.rows.omit(message.omitted)
            return None
        unknown = [kind for kind, value in (("role", speaker), ("text", message.text))
                   if value is None and kind not in message.used.values()]  # fmt: skip
        if unknown:
            names = listed(raw, what="key")
            problem = f"The {unknown[0]} is missing: no key of the message is known for it."
            remedy = f"Name it with --{unknown[0]}-key KEY. The message has: {names}."
            self.rows.lose(place, problem, remedy)
            return None
        author = None if self.speaker else self._person_here(raw, speaker)
        return Turn(place, message, speaker, author)

    def _person_here(self, raw: Mapping[str, Any], speaker: Any) -> str | None:
        """Which author speaks as the person, where the message says so."""
        if not isinstance(speaker, str):
            return None
        if (self.roles.get(speaker) or KNOWN.get(speaker.lower())) != "user":
            return None
        return author_identity(raw)

    def _meet(self, raw: Mapping[str, Any], message: LogMessage) -> None:
        key_set = tuple(raw)
        if key_set not in self.key_sets:
            self.key_sets.add(key_set)
            self.ledger.uses.meet(self.file, raw, LEVEL)
        for use in message.used.items():
            if use not in self.uses:
                self.uses.add(use)
                self.ledger.uses.take(self.file, *use, LEVEL)

    def _new_part(self, dialogue: Dialogue, turns: Sequence[Turn]) -> tuple[str, int] | None:
        """Under which name and from which turn a conversation is written; None for nothing."""
        chain = _chain(turns, dialogue.growing != "log")
        earlier_chains = self.chains.setdefault(dialogue.person, {})
        name, start = dialogue.conversation, 0
        twice = (dialogue.person, dialogue.conversation) in self.names
        least = {"no": 0, "maybe": LONG, "log": 1}["log" if twice else dialogue.growing]
        spoken = [place for place, turn in enumerate(turns) if not _is_system(turn)]
        for length in range(len(chain), least - 1 if least else len(chain), -1):
            earlier = earlier_chains.get(chain[length - 1])
            if earlier is None or not _anybody(turns, spoken[:length]):
                continue
            if twice and earlier[0] != dialogue.conversation:
                continue
            if length == len(chain):
                if twice or dialogue.growing == "log":
                    self.rows.omit(REPEATS, len(turns))
                    return None
            elif earlier[1]:
                name, start = earlier[0], spoken[length - 1] + 1
                earlier_chains[chain[length - 1]] = (name, False)
                break
        if twice and not start:
            self.rows.lose(dialogue.where, *SAME_NAME, len(turns))
            return None
        self.names.add((dialogue.person, dialogue.conversation))
        for length, link in enumerate(chain, 1):
            earlier_chains.setdefault(link, (name, length == len(chain)))
        return name, start

    def _date(self, turns: Sequence[Turn], record: Mapping[str, Any]) -> None:
        """Times of turns, those that have none dated by what is said of the conversation."""
        self.times = [turn.message.time for turn in turns]
        absent = sum(time is None for time in self.times)
        if not absent:
            return
        if absent < len(turns):
            following = None
            for place in range(len(turns) - 1, -1, -1):
                if self.times[place] is None and following is not None:
                    self.times[place] = following
                    self.ledger.note(FROM_NEXT)
                following = self.times[place]
            return
        key = start_key(record, self.file)
        if key is not None:
            self.ledger.uses.take(self.file, key, "time of the conversation")
            self.ledger.note(FROM_CONVERSATION, len(turns))
            self.times = [record[key]] * len(turns)


TWICE = (
    "Two messages of a conversation have one identifier and different words.",
    "Keep the message that was said.",
)

SEVERAL = (
    "Several authors speak as the person in this conversation.",
    "Give the role of user to one of them and another role to the others, or leave such "
    "conversations out.",
)

SAME_NAME = (
    "This conversation identifier occurs twice.",
    "Give each conversation its own identifier, or remove the copy.",
)


def start_key(record: Mapping[str, Any], file: Path) -> str | None:
    """The key of a conversation that says when it was; None if there is none.

    Raises:
        LeadlineError: several look like it.
    """
    usual = sorted(
        (place, key) for key in record
        if (place := usual_place(key, START_KEYS)) is not None and _is_time(record[key])
    )  # fmt: skip
    if usual:
        return usual[0][1]
    keys = [key for key in record if looks_like(key) == "time" and _is_time(record[key])]
    if len(keys) > 1:
        check_one_time(record, file, "the conversation")
    return keys[0] if keys else None


def _is_time(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _message_id(raw: Any) -> str | None:
    if not isinstance(raw, Mapping):
        return None
    keys = fields_of(tuple(raw), ID_KEYS)
    return next((name for key in keys if (name := identifier(raw[key])) is not None), None)


def _body(raw: Mapping[str, Any]) -> str:
    return repr([raw[key] for key in sorted(raw) if normal(key) in BODY_KEYS])


BODY_KEYS = ("content", "text", "value", "message", "body", "role", "from", "sender", "type")


def _is_system(turn: Turn) -> bool:
    return isinstance(turn.speaker, str) and turn.speaker.lower() in ("system", "developer")


def _anybody(turns: Sequence[Turn], places: Sequence[int]) -> bool:
    """Whether anybody but an assistant speaks in some turns."""
    words = ("assistant", "bot", "ai", "gpt", "model")
    return any(str(turns[place].speaker).lower() not in words for place in places)


def _chain(turns: Sequence[Turn], with_times: bool) -> list[int]:
    """A hash of each beginning of a conversation, without prompts of the system."""
    chain = []
    link = 0
    for turn in turns:
        if not _is_system(turn):
            time = str(turn.message.time) if with_times else ""
            link = hash((link, str(turn.speaker), str(turn.message.text), time))
            chain.append(link)
    return chain


def check_one_time(record: Mapping[str, Any], file: Path, where: str) -> None:
    """Ask where several keys look like the time and none of them is usual.

    Raises:
        LeadlineError: there are several.
    """
    keys = [key for key in record if looks_like(key) == "time" and _is_time(record[key])]
    if len(keys) > 1:
        raise LeadlineError(
            f"More than one key could be the time: {listed(keys, list(record), what='key')}.",
            remedy="Say which with --time-key KEY.",
            file=file,
            row=where,
        )
