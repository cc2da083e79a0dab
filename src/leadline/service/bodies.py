"""What is sent in and what is answered, as the OpenAPI of the service says it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

STATEMENT = "An estimate, not a PHQ-9 response, not a diagnosis, not a crisis service."
FIRST_YEAR, LAST_YEAR = 1900, 2200
BATCH = 1000
LONGEST_TEXT = 200_000  # characters of one message


def _written_out(value: Any) -> Any:
    """A time as it is written; of a number nobody knows whether seconds or milliseconds are meant.

    Raises:
        ValueError: it is not written as a date and a time.
    """
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value):
        raise ValueError("no time")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Answer = Annotated[int, Field(strict=True, ge=0, le=3)]
Agrees = Annotated[bool, Field(strict=True)]
Purpose = Literal["estimate", "show_text", "research", "train", "fhir"]
Lane = Literal["item9", "ask", "changed", "silent", "everyone"]
Channel = Literal["app", "call", "visit", "letter", "other"]


class Body(BaseModel):
    """What is not known is refused, not left aside; a number is none that stands in quotes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class MessageBody(Body):
    """A message; `replaces` names the one whose place it takes."""

    source: Name
    id: Name
    person: Name
    conversation: Name
    role: Literal["user", "assistant", "clinician", "system"]
    time: Moment
    text: Annotated[str, Field(max_length=LONGEST_TEXT)]
    turn: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)] = 0
    replaces: Name | None = None


class MessagesBody(Body):
    """Messages in the order in which they are to be numbered."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=BATCH)]


class MessageName(Body):
    """A message by what its sender calls it."""

    source: Name
    id: Name
    person: Name


class RetractionBody(Body):
    """Messages that are taken back."""

    messages: Annotated[list[MessageName], Field(min_length=1, max_length=BATCH)]


class Phq9Body(Body):
    """A PHQ-9 or PHQ-8 that a person answered: the total, the items, or both."""

    source: Name
    id: Name
    person: Name
    time: Moment
    total: Annotated[float, Field(strict=True, ge=0, le=27)] | None = None
    items: Annotated[list[Answer | None], Field(max_length=9)] = []
    instrument: Literal["phq9", "phq8"] = "phq9"


class Phq9sBody(Body):
    """PHQ-9s."""

    phq9s: Annotated[list[Phq9Body], Field(min_length=1, max_length=BATCH)]


class PersonBody(Body):
    """What a sender says of a person; purposes that are not named stay as they are."""

    team: Name | None = None
    consent: dict[Purpose, Agrees] = {}
    version: Annotated[str, Field(max_length=200)] | None = None
    evidence: Annotated[str, Field(max_length=1000)] | None = None
    treatment_start: Moment | None = None


class AskBody(Body):
    """Somebody was asked for a PHQ-9."""

    person: Name
    channel: Channel | None = None


class AskChange(Body):
    """What became of an ask."""

    action: Literal["asked", "declined", "snoozed"]
    until: Moment | None = None


class Result(BaseModel):
    """What became of an item: its place in the batch, and the number it has in the store."""

    item: int
    status: Literal["stored", "known", "conflict", "refused"]
    reason: str | None = None
    number: int | None = None


class Results(BaseModel):
    """What became of each item, in order."""

    results: list[Result]


class PersonResult(BaseModel):
    """What became of what was said of a person."""

    status: Literal["stored", "known", "refused"]


class AskResult(BaseModel):
    """The ask, by its number."""

    ask: int
    status: Literal["stored", "known"]


class Day(BaseModel):
    """Severity on a day, with its central 90% interval, points."""

    day: datetime
    mean: float
    lower: float
    upper: float


class Phq9(BaseModel):
    """A real PHQ-9."""

    number: int
    time: datetime
    total: float
    instrument: str
    prorated: bool
    item_9: int | None


class Change(BaseModel):
    """Severity now less severity at the reference day, points; above 0 is worse."""

    since: datetime
    mean: float
    lower: float
    upper: float
    points: float
    p_worse: float
    p_better: float
    words: str
    answered: Literal[-1, 0, 1] | None


class PersonCourse(BaseModel):
    """The course of a person, as known at `as_of`."""

    statement: str = STATEMENT
    person: str
    as_of: datetime
    model: str
    no_label_seen: bool
    fitted: bool
    standing: str
    standing_words: str
    now: Day | None
    change: Change | None
    phq9s: list[Phq9]
    days: list[Day]


class Estimate(BaseModel):
    """The estimate after one message."""

    number: int
    time: datetime
    made_at: datetime
    mean: float
    median: float
    lower: float
    upper: float
    p_ge_10: float
    increment: float | None
    departure: float | None
    window_turns: int
    window_words: int
    distribution: list[float]


class PersonEstimates(BaseModel):
    """Estimates of a person in the order of time, as known at `as_of`; `after` asks for more."""

    statement: str = STATEMENT
    person: str
    model: str
    no_label_seen: bool
    as_of: datetime
    estimates: list[Estimate]
    after: int | None


class Entry(BaseModel):
    """A person in a lane."""

    person: str
    mean: float | None
    lower: float | None
    upper: float | None
    p_ge_10: float | None
    p_worse: float | None
    p_better: float | None
    standing: str | None
    standing_words: str | None
    last_message: datetime | None
    last_phq9: datetime | None
    last_phq9_total: float | None
    ask: int | None
    reason: str | None
    drawn_at_random: bool


class Worklist(BaseModel):
    """A page of a lane; `after` asks for the next."""

    statement: str = STATEMENT
    lane: Lane
    entries: list[Entry]
    after: str | None


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok", "not ready"]
    reasons: list[str] = []


class Problem(BaseModel):
    """The one form of an error: never a value that was sent."""

    error: str
    message: str
    remedy: str
    request: str
