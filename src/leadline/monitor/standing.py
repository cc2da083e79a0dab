"""The standing of a person: a state machine that neither flaps nor hides what it does not know.

After the alerting states of Grafana (normal, pending, alerting, recovering, no data, error) in the
words of this house: `steady`, `turning`, `reliably` worse or better, `settling`, and apart from
them `silent`, `unknown` and `cannot be estimated`, which are never shown as low or steady. Turning
begins where a change of the size that counts is probable, and ends only where it is clearly not for
as many days as it had to last to be said; it becomes reliable after days and conversations that
were separate. Nothing is sent to anybody because of a standing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from leadline.monitor.config import StandingConfig

Direction = Literal["", "worse", "better"]

STEADY, SETTLING = "steady", "settling"
SILENT, UNKNOWN, FAILED = "silent", "unknown", "cannot be estimated"
TURNING = {"worse": "turning worse", "better": "turning better"}
RELIABLY = {"worse": "reliably worse", "better": "reliably better"}
STANDINGS = (
    STEADY, *TURNING.values(), *RELIABLY.values(), SETTLING, SILENT, UNKNOWN, FAILED,
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is known of a person on a day.

    Attributes:
        p_worse: probability of being worse by the points that count.
        p_better: the same for better.
        reliable: the direction that is sure and as large as counts; empty if none is.
        last_message_day: days since 1970-01-01; None if there was none.
        words: of the person in the window of the last estimate; None without an estimate.
        failed: whether the last messages could not be estimated.
        conversations: whole days on which the person said something.
    """

    p_worse: float
    p_better: float
    reliable: Direction
    last_message_day: float | None
    words: int | None
    failed: bool
    conversations: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Standing:
    """Where a person stands, and what the machine has to remember.

    Attributes:
        name: one of `STANDINGS`.
        since: day from which the name holds.
        direction: of the change that the name is about.
        turning_to: the direction that is probable now.
        turning_since: day from which it was probable.
        calm_since: day from which it was not so probable any more; it ends when it stays so.
    """

    name: str
    since: float
    direction: Direction = ""
    turning_to: Direction = ""
    turning_since: float = math.inf
    calm_since: float = math.inf

    def to_json(self) -> str:
        """As the store keeps it."""
        fields = asdict(self).items()
        return json.dumps({name: None if value == math.inf else value for name, value in fields})

    @classmethod
    def from_json(cls, text: str) -> Standing:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        days = ("turning_since", "calm_since")
        never = {name: math.inf for name in days if fields.get(name) is None}
        return cls(**fields | never)


def next_standing(
    before: Standing | None, facts: Facts, day: float, config: StandingConfig
) -> Standing:
    """The standing on a day, from the one before and what is known; twice gives the same.

    Args:
        before: None for someone who had none yet.
        facts: of the day.
        day: days since 1970-01-01, not before `before.since`.
        config: when it changes.
    """
    apart = _apart(facts, day, config)
    if apart is not None:
        since = before.since if before is not None and before.name == apart else day
        return Standing(apart, since)
    if before is None or before.name in (SILENT, UNKNOWN, FAILED):
        before = Standing(STEADY, day)
    turning = _turning(before, facts, day, config)
    name = _name(before, turning, facts, day, config)
    since = before.since if name == before.name else day
    direction = before.direction if name == SETTLING else turning.turning_to
    return replace(turning, name=name, since=since, direction=direction)


def _apart(facts: Facts, day: float, config: StandingConfig) -> str | None:
    """The standings of those of whom no change can be said."""
    if facts.failed:
        return FAILED
    if facts.words is None or facts.words < config.least_words or facts.last_message_day is None:
        return UNKNOWN
    # A day is waited beyond the limit, so that one evening without a message changes nothing.
    return SILENT if day - facts.last_message_day >= config.silent_days + 1 else None


def _turning(before: Standing, facts: Facts, day: float, config: StandingConfig) -> Standing:
    """Which change is probable, and since when."""
    chance = {"worse": facts.p_worse, "better": facts.p_better}
    way: Direction = "worse" if facts.p_worse >= facts.p_better else "better"
    goes_on = before.turning_to == way
    if chance[way] >= (config.turning_until if goes_on else config.turning_at):
        since = before.turning_since if goes_on else day
        return Standing(before.name, before.since, "", way, since)
    calm = min(before.calm_since, day)
    turns = before.name in TURNING.values()  # what was reliable settles instead
    if turns and before.turning_to and day - calm < config.pending_days:
        return Standing(before.name, before.since, "", before.turning_to, before.turning_since,
                        calm)  # fmt: skip
    return Standing(before.name, before.since)


def _name(
    before: Standing, turning: Standing, facts: Facts, day: float, config: StandingConfig
) -> str:
    way = turning.turning_to
    was_reliable = before.name in RELIABLY.values()
    has_settled = day - before.since >= config.settling_days
    if way:
        reliably = RELIABLY[way]
        returns = before.name == reliably or (before.name == SETTLING and before.direction == way)
        waited = day - turning.turning_since >= config.pending_days
        since = math.floor(turning.turning_since)
        talked = sum(since <= talk_day <= day for talk_day in facts.conversations)
        enough = talked >= config.pending_conversations
        if returns or (waited and enough and facts.reliable == way):
            return reliably
        just_ended = was_reliable or (before.name == SETTLING and day == before.since)
        return SETTLING if just_ended else TURNING[way]
    if was_reliable:
        return SETTLING
    return SETTLING if before.name == SETTLING and not has_settled else STEADY


def standing_words(standing: Standing, day: float, last_message_day: float | None) -> str:
    """A standing in one sentence."""
    days = max(0, math.floor(day - standing.since))
    lasting = f"for {days} days" if days > 1 else ("since yesterday" if days else "since today")
    if standing.name == FAILED:
        return "Cannot be estimated: the last messages could not be read"
    if standing.name == UNKNOWN:
        return "Too few words for an estimate"
    if standing.name == SILENT and last_message_day is not None:
        return f"No message for {math.floor(day - last_message_day)} days"
    if standing.name == SETTLING:
        return f"Settling after a change for the {standing.direction}, {lasting}"
    return f"{standing.name.capitalize()}, {lasting}"
