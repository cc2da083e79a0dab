"""Whether the service lives, whether it can do its work, and what it counts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import Connection, func, select

from leadline.errors import Unreachable
from leadline.service import bodies
from leadline.service.access import Desk, desk, may
from leadline.service.metrics import CONTENT_TYPE
from leadline.store import times
from leadline.store.models import live_model
from leadline.store.schema import hook_call, message, person
from leadline.store.tokens import Bearer
from leadline.store.work import backlog

router = APIRouter()
At = Annotated[Desk, Depends(desk)]


@router.get("/healthz")
def get_health() -> bodies.Health:
    """The process answers."""
    return bodies.Health(status="ok")


@router.get("/readyz", responses={503: {"model": bodies.Health}})
def get_readiness(at: At) -> JSONResponse:
    """The store answers, has a model, and messages are read in time."""
    reasons = []
    try:
        model, lag = at.store.database.read(lambda c: (live_model(c), lag_seconds(c)))
        if model is None:
            reasons.append("The store has no model.")
        if lag > at.config.lag_seconds:
            reasons.append("Messages wait for too long to be read.")
    except Unreachable:
        reasons.append("The store does not answer.")
    health = bodies.Health(status="not ready" if reasons else "ok", reasons=reasons)
    return JSONResponse(health.model_dump(), 503 if reasons else 200)


class OpenMetricsResponse(PlainTextResponse):
    """Text of the kind that the OpenAPI names."""

    media_type = CONTENT_TYPE


@router.get("/metrics", response_class=OpenMetricsResponse)
def get_metrics(at: At, _who: Annotated[Bearer, Depends(may("metrics"))]) -> OpenMetricsResponse:
    """Counts of this process and figures of the store, as OpenMetrics."""
    text = at.metrics.text(at.store.database.read(_gauges))
    return OpenMetricsResponse(text)


def lag_seconds(connection: Connection) -> float:
    """How long the oldest message waits to be read, in seconds."""
    query = (
        select(func.min(message.c.received_at))
        .join(person, person.c.id == message.c.person_id)
        .where(
            person.c.scored_upto < person.c.received,
            person.c.failed.is_(None),
            person.c.estimate_allowed,
            message.c.seq > person.c.scored_upto,
            message.c.superseded_at.is_(None),
        )
    )
    oldest = connection.execute(query).scalar()
    return 0.0 if oldest is None else max((times.now() - int(oldest)) / times.SECOND, 0.0)


def _gauges(connection: Connection) -> dict[str, float]:
    people, messages = backlog(connection)
    views = select(func.count()).select_from(person).where(person.c.refresh_due.is_not(None))
    failed = select(func.count()).select_from(person).where(person.c.failed.is_not(None))
    calls = select(func.count()).select_from(hook_call).where(hook_call.c.delivered_at.is_(None))
    return {
        "people_unread": people,
        "messages_unread": messages,
        "lag_seconds": lag_seconds(connection),
        "views_due": connection.execute(views).scalar_one(),
        "people_failed": connection.execute(failed).scalar_one(),
        "item9_calls_open": connection.execute(calls).scalar_one(),
    }
