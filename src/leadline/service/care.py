"""What a care team reads and does: courses, estimates, the worklist, asks."""

from __future__ import annotations

import base64
import math
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, select

from leadline.monitor.belief import beliefs
from leadline.monitor.course import change_since, smoothed_course
from leadline.monitor.now import Ground, read_ground
from leadline.monitor.records import Record, read_records
from leadline.monitor.standing import Standing, standing_words
from leadline.service import bodies
from leadline.service.access import Desk, desk, may, not_found, person_of, sees
from leadline.service.errors import Refused
from leadline.store import times
from leadline.store.asks import ask_person, change_ask, open_ask, open_asks
from leadline.store.estimates import counted, read_estimates, unpack_distribution
from leadline.store.lanes import PAGE, lane_page
from leadline.store.models import live_model
from leadline.store.people import StoredPerson, team_id
from leadline.store.phq9s import item9
from leadline.store.schema import ask, person, person_now, phq9
from leadline.store.tokens import Bearer

router = APIRouter(prefix="/v1")
Care = Annotated[Bearer, Depends(may("care"))]
At = Annotated[Desk, Depends(desk)]
AsOf = Annotated[datetime | None, Query(description="What was known then; with a time zone.")]
MOST_DAYS = 1100
ESTIMATES_AT_ONCE = 1000


@router.get("/people/{person}/course")
def get_course(
    person: bodies.Name,
    at: At,
    who: Care,
    asof: AsOf = None,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 180,
) -> bodies.PersonCourse:
    """Severity on each of the last days, real PHQ-9s beside, as known now or at `asof`."""
    known_at, now = _known(asof), times.now()
    until = now if known_at is None else min(known_at, now)

    def work(connection: Connection) -> bodies.PersonCourse:
        stored = person_of(connection, at, who, person)
        ground = read_ground(connection)
        record = read_records(connection, [stored.id], ground.model_id, known_at)[stored.id]
        return _course(connection, stored, record, ground, (person, until, known_at, days))

    return at.store.database.read(work)


@router.get("/people/{person}/estimates")
def get_estimates(
    person: bodies.Name,
    at: At,
    who: Care,
    asof: AsOf = None,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Estimates already seen.")] = 0,
) -> bodies.PersonEstimates:
    """The estimates after each message, as known now or at `asof`."""
    known_at = _known(asof)

    def work(connection: Connection) -> bodies.PersonEstimates:
        stored = person_of(connection, at, who, person)
        model = live_model(connection)
        model_id = "" if model is None else model["model_id"]
        rows = read_estimates(connection, stored.id, model_id, known_at)
        page_rows = rows[after : after + ESTIMATES_AT_ONCE]
        next_place = after + len(page_rows) if after + len(page_rows) < len(rows) else None
        return bodies.PersonEstimates(
            person=person, model=model_id,
            no_label_seen=bool(model is not None and model["without_labels"]),
            as_of=times.moment(times.now() if known_at is None else known_at),
            estimates=[_estimate(row) for row in page_rows], after=next_place,
        )  # fmt: skip

    return at.store.database.read(work)


@router.get("/worklist")
def get_worklist(
    at: At,
    who: Care,
    lane: bodies.Lane = "ask",
    team: bodies.Name | None = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
) -> bodies.Worklist:
    """One page of a lane: 50 people, in the lane's order."""

    def work(connection: Connection) -> bodies.Worklist:
        number = _team(connection, at, who, team)
        page = lane_page(connection, lane, number, _from_key(after), PAGE)
        asks = open_asks(connection, [row["id"] for row in page.rows])
        entries = [_entry(at, row, asks.get(row["id"])) for row in page.rows]
        return bodies.Worklist(lane=lane, entries=entries, after=_to_key(page.after))

    return at.store.database.read(work)


@router.post("/asks")
def post_ask(body: bodies.AskBody, at: At, who: Care) -> bodies.AskResult:
    """Say that somebody was asked for a PHQ-9."""
    by = (who.actor_id, times.now())

    def work(connection: Connection) -> bodies.AskResult:
        stored = person_of(connection, at, who, body.person)
        before = open_ask(connection, stored.id)
        number = ask_person(connection, stored.id, by, body.channel)
        known_at = before is not None and before["asked_at"] is not None
        return bodies.AskResult(ask=number, status="known" if known_at else "stored")

    return at.store.database.write(work)


@router.patch("/asks/{number}")
def patch_ask(number: int, body: bodies.AskChange, at: At, who: Care) -> bodies.AskResult:
    """Say what became of an ask: asked, declined, or put off until a time."""
    by = (who.actor_id, times.now())
    until = None if body.until is None else times.microseconds(body.until)

    def work(connection: Connection) -> bodies.AskResult:
        query = (
            select(person.c.team_id)
            .join(ask, ask.c.person_id == person.c.id)
            .where(ask.c.id == number)
        )
        row = connection.execute(query).first() if abs(number) < 2**62 else None
        if row is None or not sees(who, row[0]):
            raise not_found()
        if not change_ask(connection, number, body.action, by, until):
            raise Refused(409, "ended", "The ask has ended.", "Make a new one: POST /v1/asks.")
        return bodies.AskResult(ask=number, status="stored")

    return at.store.database.write(work)


def _known(asof: datetime | None) -> int | None:
    if asof is None:
        return None
    if asof.tzinfo is None or not bodies.FIRST_YEAR <= asof.year < bodies.LAST_YEAR:
        raise Refused(422, "invalid", "`asof` is no time with a zone.",
                      "Give a time such as 2026-03-01T00:00:00Z.")  # fmt: skip
    return times.microseconds(asof)


def _team(connection: Connection, at: Desk, who: Bearer, name: str | None) -> int | None:
    """The team whose people are shown: the bearer's, or the one that was asked for."""
    number = None if name is None else team_id(connection, at.store.vault, name)
    if name is not None and (number is None or not sees(who, number)):
        raise not_found()
    return who.team_id if name is None else number


def _course(
    connection: Connection,
    stored: StoredPerson,
    record: Record,
    ground: Ground,
    terms: tuple[str, int, int | None, int],
) -> bodies.PersonCourse:
    external, until, known_at, days = terms
    start = stored.row["treatment_start"]
    (belief,), _ = beliefs(
        [record], [None if start is None else times.day(start)], ground.parameters
    )
    query = select(person_now).where(person_now.c.person_id == stored.id)
    view = connection.execute(query).mappings().first() if known_at is None else None
    standing = None if view is None else Standing.from_json(view["standing_state"])
    words = "" if standing is None else standing_words(
        standing, times.day(until),
        None if record.last_message is None else times.day(record.last_message),
    )  # fmt: skip
    series = [] if belief is None else _days(record, ground, until, days)
    return bodies.PersonCourse(
        person=external, as_of=times.moment(until), model=ground.model_id,
        no_label_seen=ground.without_labels, fitted=ground.parameters.fitted,
        standing="" if standing is None else standing.name, standing_words=words,
        now=series[-1] if series else None,
        change=None if belief is None else _change(record, belief.reference_day, ground, until),
        phq9s=[_phq9(row) for row in _phq9_rows(connection, stored.id, known_at)], days=series,
    )  # fmt: skip


def _days(record: Record, ground: Ground, until: int, days: int) -> list[bodies.Day]:
    """Severity at the end of each whole day, and at `until`."""
    now = times.day(until)
    heard = record.history.days
    first = max(math.floor(min(heard)) + 1, math.floor(now) - days + 1)
    day_ends = np.arange(first, math.floor(now) + 1, dtype=np.float64)
    last = max(now, *heard)  # a sender's clock may be ahead
    course = smoothed_course(
        record.history, np.append(day_ends[day_ends < last], last), ground.parameters
    )
    lower, upper = course.interval()
    return [
        bodies.Day(day=_moment(day), mean=_shown(mean), lower=float(low), upper=float(high))
        for day, mean, low, high in zip(course.day, course.mean, lower, upper, strict=True)
    ]


def _shown(mean: float) -> float:
    return float(np.clip(mean, 0.0, 27.0))


def _change(
    record: Record, reference: float | None, ground: Ground, until: int
) -> bodies.Change | None:
    if reference is None:
        return None
    now = max(times.day(until), *record.history.days)
    points = ground.config.points
    change = change_since(record.history, (reference, now), ground.parameters, points)
    lower, upper = change.interval()
    return bodies.Change.model_validate({
        "since": _moment(reference), "mean": change.mean, "lower": lower, "upper": upper,
        "points": points, "p_worse": change.p_worse, "p_better": change.p_better,
        "words": change.words, "answered": change.answered,
    })  # fmt: skip


def _moment(day: float) -> datetime:
    return times.moment(round(day * times.DAY))


def _phq9_rows(connection: Connection, person_id: str, known_at: int | None) -> list[Any]:
    query = (
        select(phq9)
        .where(phq9.c.person_id == person_id)
        .where(counted(phq9.c, known_at, "received_at", "retracted_at"))
        .order_by(phq9.c.time, phq9.c.id)
    )
    return list(connection.execute(query).mappings())


def _phq9(row: Any) -> bodies.Phq9:
    return bodies.Phq9(
        number=row["id"], time=times.moment(row["time"]), total=row["total"],
        instrument=row["instrument"], prorated=row["prorated"], item_9=item9(row["answers"]),
    )  # fmt: skip


def _estimate(row: Any) -> bodies.Estimate:
    names = ("mean", "median", "lower", "upper", "p_ge_10", "increment", "departure",
             "window_turns", "window_words")  # fmt: skip
    return bodies.Estimate(
        number=row["seq"],
        time=times.moment(row["time"]),
        made_at=times.moment(row["made_at"]),
        distribution=unpack_distribution(bytes(row["distribution"])).tolist(),
        **{name: row[name] for name in names},
    )


def _entry(at: Desk, row: Any, suggestion: Any) -> bodies.Entry:
    key = at.store.vault.person_key(bytes(row["wrapped_key"]), row["id"])
    standing = None if row["standing_state"] is None else Standing.from_json(row["standing_state"])
    last = row["last_message_at"]
    today = times.day(times.now())
    words = None if standing is None else standing_words(
        standing, today, None if last is None else times.day(last)
    )  # fmt: skip
    figures = ("mean", "lower", "upper", "p_ge_10", "p_worse", "p_better", "standing",
               "last_phq9_total")  # fmt: skip
    terms = suggestion is not None
    return bodies.Entry(
        person=key.open(bytes(row["external_sealed"]), "external"),
        **{name: row[name] for name in figures},
        standing_words=words,
        last_message=_optional(last),
        last_phq9=_optional(row["last_phq9_at"]),
        ask=suggestion["id"] if terms else None,
        reason=suggestion["reason"] if terms and suggestion["reason"] else row["reason"],
        drawn_at_random=bool(terms and suggestion["drawn_at_random"]),
    )


def _optional(microsecond: int | None) -> datetime | None:
    return None if microsecond is None else times.moment(microsecond)


def _to_key(after: tuple[float, str] | None) -> str | None:
    if after is None:
        return None
    rank, person_id = after
    return base64.urlsafe_b64encode(f"{rank!r} {person_id}".encode()).decode()


def _from_key(text: str | None) -> tuple[float, str] | None:
    if text is None:
        return None
    try:
        rank, person_id = base64.urlsafe_b64decode(text.encode()).decode("ascii").split(" ")
        number = float(rank)
    except ValueError:
        number, person_id = math.nan, ""
    if not math.isfinite(number):
        raise Refused(422, "invalid", "`after` is not what a page gave.",
                      "Give the `after` of the page before.")  # fmt: skip
    return number, person_id
