"""The standing of a person: a state machine that neither flaps nor hides what it does not know.

After the alerting states of Grafana (normal, pending, alerting, recovering, no data, error) in the
words of this house: `steady`, `turning`, `reliably` worse or better, `settling`, and apart from
them `silent`, `unknown` and `cannot be estimated`, which are never shown as low or steady. Turning
begins where a change of the size that counts is probable, and ends only where it is clearly not;
it becomes reliable after days and conversations that were separate. Nothing is sent to
anybody because of a standing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

from leadline.settings import check_choices, setting

Direction = Literal["", "worse", "better"]

STEADY, SETTLING = "steady", "settling"
SILENT, UNKNOWN, FAILED = "silent", "unknown", "cannot be estimated"
TURNING = {"worse": "turning worse", "better": "turning better"}
RELIABLY = {"worse": "reliably worse", "better": "reliably better"}
STANDINGS = (
    STEADY, *TURNING.values(), *RELIABLY.values(), SETTLING, SILENT, UNKNOWN, FAILED,
)  # fmt: skip


@dataclass(frozen=True)
class StandingConfig:
    """When a standing changes."""

    turning_at: float = setting(
        0.8, "Probability of a change of the size that counts, at which turning begins.",
        above=0, most=1,
    )  # fmt: skip
    turning_until: float = setting(0.6, "Probability below which turning ends.", least=0, most=1)
    pending_days: float = setting(3.0, "Days for which a person turns before it is said.", least=0)
    pending_conversations: int = setting(
        2, "Separate days with a conversation within them.", least=1
    )
    settling_days: float = setting(
        7.0, "Days in which a change that ended is still shown.", least=0
    )
    silent_days: float = setting(14.0, "Days without a message after which a person is silent.",
                                 above=0)  # fmt: skip
    least_words: int = setting(20, "Words of the person that an estimate has to rest on.", least=0)

    def __post_init__(self) -> None:
        check_choices(self)


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
    """

    name: str
    since: float
    direction: Direction = ""
    turning_to: Direction = ""
    turning_since: float = math.inf

    def to_json(self) -> str:
        """As the store keeps it."""
        turning = None if math.isinf(self.turning_since) else self.turning_since
        return json.dumps(asdict(self) | {"turning_since": turning})

    @classmethod
    def from_json(cls, text: str) -> Standing:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        turning = fields["turning_since"]
        return cls(**fields | {"turning_since": math.inf if turning is None else turning})


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
    direction = max(("worse", "better"), key=lambda way: chance[way])
    goes_on = before.turning_to == direction and not math.isinf(before.turning_since)
    limit = config.turning_until if goes_on else config.turning_at
    if chance[direction] < limit:
        return Standing(before.name, before.since)
    since = before.turning_since if goes_on else day
    way: Direction = "worse" if direction == "worse" else "better"
    return Standing(before.name, before.since, "", way, since)


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
    if standing.name == FAILED:
        return "Cannot be estimated: the last messages could not be read"
    if standing.name == UNKNOWN:
        return "Too few words for an estimate"
    if standing.name == SILENT and last_message_day is not None:
        return f"No message for {math.floor(day - last_message_day)} days"
    if standing.name == SETTLING:
        return f"Settling after a change for the {standing.direction}, for {days} days"
    return f"{standing.name.capitalize()}, for {days} days"
