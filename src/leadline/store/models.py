"""Models of the store: one is live, others stand in its shadow, none is ever overwritten.

Estimates carry the id of the model that made them, and the parameters of a course the id of theirs,
so what was shown can be told from what another model would have shown.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from leadline.errors import LeadlineError
from leadline.store.schema import estimate, message, params, person, run_model

ModelStatus = Literal["live", "shadow", "retired"]


def register_model(
    connection: Connection,
    model_id: str,
    run: str,
    now: int,
    *,
    status: ModelStatus,
    without_labels: bool = False,
) -> bool:
    """Put a model down; whether it is new. One that is there keeps its status."""
    earlier = select(run_model.c.model_id).where(run_model.c.model_id == model_id)
    if connection.execute(earlier).first() is not None:
        changed = update(run_model).where(run_model.c.model_id == model_id).values(run=run)
        connection.execute(changed)
        return False
    values = {"model_id": model_id, "run": run, "status": status, "since": now}
    connection.execute(insert(run_model).values(**values, without_labels=without_labels))
    return True


def live_model(connection: Connection) -> Any:
    """The row of the model whose estimates are shown; None before there is one."""
    query = select(run_model).where(run_model.c.status == "live")
    return connection.execute(query).mappings().first()


def models(connection: Connection) -> list[Any]:
    """Every model, in the order in which they came."""
    query = select(run_model).order_by(run_model.c.since, run_model.c.model_id)
    return list(connection.execute(query).mappings())


def promote(connection: Connection, model_id: str, now: int) -> None:
    """Show the estimates of another model from now on; everybody's list is made again.

    Raises:
        LeadlineError: the store has no such model.
    """
    changed = update(run_model).where(run_model.c.model_id == model_id)
    retired = update(run_model).where(run_model.c.status == "live")
    connection.execute(retired.values(status="retired", since=now))
    if not connection.execute(changed.values(status="live", since=now)).rowcount:
        raise LeadlineError(
            "The store has no such model.", remedy="Score with it first: leadline monitor nightly."
        )
    connection.execute(update(person).values(refresh_due=now))
    _read_the_rest(connection, model_id)


def _read_the_rest(connection: Connection, model_id: str) -> None:
    """Have read again whatever the model has made no estimate after."""
    estimated = select(estimate.c.seq).where(
        estimate.c.person_id == message.c.person_id,
        estimate.c.seq == message.c.seq,
        estimate.c.model_id == model_id,
        estimate.c.superseded_at.is_(None),
    )
    first = (
        select(message.c.person_id, func.min(message.c.time))
        .join(person, person.c.id == message.c.person_id)
        .where(message.c.role == "user", message.c.superseded_at.is_(None))
        .where(message.c.seq <= person.c.scored_upto, ~estimated.exists())
        .group_by(message.c.person_id)
    )
    for person_id, time in connection.execute(first).all():
        again = {"read_again_from": time, "revision": person.c.revision + 1}
        connection.execute(update(person).where(person.c.id == person_id).values(again))


def put_params(
    connection: Connection, params_id: str, model_id: str, content: tuple[str, int], now: int
) -> None:
    """Keep the parameters of a course; `content` is their JSON and the people they rest on."""
    text, people = content
    earlier = select(params.c.id).where(params.c.id == params_id)
    if connection.execute(earlier).first() is None:
        values = {"id": params_id, "model_id": model_id, "content": text, "people": people}
        connection.execute(insert(params).values(**values, made_at=now))


def newest_params(connection: Connection, model_id: str) -> Any:
    """The row of the newest parameters for a model's estimates; None before there are any."""
    query = select(params).where(params.c.model_id == model_id)
    newest = query.order_by(params.c.made_at.desc(), params.c.id)
    return connection.execute(newest).mappings().first()
