"""Tokens of machines: what a bearer may do, for how long, and whose people it sees.

A token is `ll_<id>_<secret>`. The store keeps the SHA-256 of the secret, which is 32 random bytes;
the token itself is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from leadline.errors import LeadlineError
from leadline.store.schema import actor, token
from leadline.store.times import DAY, SECOND

SCOPES = ("ingest", "care", "metrics")
"""What a token may do: send in; read courses and handle asks; read what the service counts."""
WITH_ID = select(token).where(token.c.id == bindparam("id"))  # made once: every request asks it
USED_EVERY = 60 * SECOND  # the time of the last use is as exact as this


@dataclass(frozen=True)
class Bearer:
    """Who asks.

    Attributes:
        actor_id: of the store.
        scopes: what they may do.
        team_id: whose people they see; None: everybody.
        token_id: of the token.
        last_used: microseconds; None: never.
    """

    actor_id: str
    scopes: frozenset[str]
    team_id: int | None
    token_id: str
    last_used: int | None


def make_token(
    connection: Connection,
    name: str,
    scopes: Sequence[str],
    until: tuple[int, float],
    team: int | None = None,
) -> str:
    """Make a token; the only time that it can be seen.

    Args:
        connection: of a writing transaction.
        name: of the machine that will use it.
        scopes: of `SCOPES`.
        until: now in microseconds, and the days for which it holds.
        team: whose people it sees; None: everybody's.
    """
    now, days = until
    if not scopes or not set(scopes) <= set(SCOPES):
        raise LeadlineError(
            "A token needs at least one scope that there is.",
            remedy=f"Give --scope, of: {', '.join(SCOPES)}.",
        )
    if team is not None and set(scopes) != {"care"}:
        raise LeadlineError(
            "A team bounds what a care team reads, and nothing else.",
            remedy="Give --team with --scope care alone, and another token for the rest.",
        )
    token_id, secret, actor_id = secrets.token_hex(6), secrets.token_urlsafe(32), uuid.uuid4().hex
    connection.execute(
        insert(actor).values(id=actor_id, name=name[:80], kind="machine", made_at=now)
    )
    connection.execute(
        insert(token).values(
            id=token_id,
            actor_id=actor_id,
            secret_hash=_hash(secret),
            scopes=" ".join(sorted(set(scopes))),
            team_id=team,
            made_at=now,
            expires_at=now + int(days * DAY),
        )
    )
    return f"ll_{token_id}_{secret}"


def bearer(connection: Connection, text: str, now: int) -> Bearer | None:
    """Who holds a token that is good now; None for any other text."""
    parts = text.split("_", 2)
    if len(parts) != 3 or parts[0] != "ll":
        return None
    row = connection.execute(WITH_ID, {"id": parts[1]}).mappings().first()
    secret = _hash(parts[2])
    if row is None or not hmac.compare_digest(bytes(row["secret_hash"]), secret):
        return None
    if row["revoked_at"] is not None or row["expires_at"] <= now:
        return None
    scopes = frozenset(row["scopes"].split())
    return Bearer(row["actor_id"], scopes, row["team_id"], row["id"], row["last_used"])


def note_use(connection: Connection, token_id: str, now: int) -> None:
    """Keep when a token was last used, to the minute."""
    stale = token.c.last_used.is_(None) | (token.c.last_used < now - USED_EVERY)
    connection.execute(update(token).where(token.c.id == token_id, stale).values(last_used=now))


def revoke_token(connection: Connection, token_id: str, now: int) -> bool:
    """End a token; whether there was one that held."""
    ended = update(token).where(token.c.id == token_id, token.c.revoked_at.is_(None))
    return connection.execute(ended.values(revoked_at=now)).rowcount > 0


def list_tokens(connection: Connection) -> list[Any]:
    """Tokens without their secrets: id, name, scopes, times."""
    query = select(
        token.c.id, actor.c.name, token.c.scopes, token.c.made_at, token.c.expires_at,
        token.c.last_used, token.c.revoked_at,
    ).join(actor, actor.c.id == token.c.actor_id)  # fmt: skip
    return list(connection.execute(query.order_by(token.c.made_at)).mappings())


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
