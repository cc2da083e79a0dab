"""Who asks, and what they may do: one place, and nothing is open by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import Connection

from leadline.service.backlog import Backlog
from leadline.service.errors import Refused
from leadline.service.frame import ACTOR
from leadline.service.metrics import Metrics
from leadline.store import times
from leadline.store.people import StoredPerson, find_people
from leadline.store.store import Store
from leadline.store.tokens import USED_EVERY, Bearer, bearer, note_use


@dataclass(frozen=True)
class ServiceConfig:
    """Bounds of the service.

    Attributes:
        backlog: messages that may wait to be read before no more are taken.
        lag_seconds: that a message may wait before the service is not ready.
    """

    backlog: int = 200_000
    lag_seconds: float = 600.0


@dataclass(frozen=True)
class Desk:
    """What a request works with."""

    store: Store
    config: ServiceConfig
    metrics: Metrics
    backlog: Backlog


async def desk(request: Request) -> Desk:
    """What the application was made with; async, since what is not costs a change of threads."""
    holder: Desk = request.app.state.desk
    return holder


def _who(request: Request, at: Annotated[Desk, Depends(desk)]) -> Bearer:
    """Who holds the token of a request.

    Raises:
        Refused: there is none, or it does not hold.
    """
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    now = times.now()
    holder = None
    if kind.lower() == "bearer":
        holder = at.store.database.read(lambda connection: bearer(connection, text.strip(), now))
    if holder is None:
        remedy = "Send Authorization: Bearer, with a token of leadline monitor token."
        raise Refused(401, "no_token", "The request has no token that holds.", remedy)
    request.scope[ACTOR] = holder.actor_id
    if holder.last_used is None or holder.last_used < now - USED_EVERY:
        at.store.database.write(lambda connection: note_use(connection, holder.token_id, now))
    return holder


def may(*scopes: str) -> Callable[..., Awaitable[Bearer]]:
    """A dependency: the bearer, who has at least one of `scopes`."""

    async def check(who: Annotated[Bearer, Depends(_who)]) -> Bearer:
        if not who.scopes & set(scopes):
            raise Refused(403, "not_allowed", "The token is not for this.",
                          f"Use a token with the scope {' or '.join(scopes)}.")  # fmt: skip
        return who

    return check


def person_of(connection: Connection, at: Desk, who: Bearer, external: str) -> StoredPerson:
    """A person whom the bearer may see.

    Raises:
        Refused: there is none, or of another team; both look alike.
    """
    stored = find_people(connection, at.store.vault, [external]).get(external)
    if stored is None or not sees(who, stored.row["team_id"]):
        raise not_found()
    return stored


def sees(who: Bearer, team_id: Any) -> bool:
    """Whether the bearer sees people of a team."""
    return who.team_id is None or who.team_id == team_id


def not_found() -> Refused:
    """The answer for what is not there, or not for this bearer."""
    return Refused(404, "not_found", "There is nobody and nothing of this name.",
                   "See that the name is right and of your team.")  # fmt: skip
