"""Estimates in the store: never overwritten, so what was shown on any day can be rebuilt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert, or_, select, update

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.phq9.items import TOTALS
from leadline.store.schema import estimate, message

DISTRIBUTION_TYPE = "<f8"
FIGURES = ("mean", "variance", "median", "lower", "upper", "p_ge_5", "p_ge_10", "p_ge_15",
           "p_ge_20")  # fmt: skip


@dataclass(frozen=True)
class EstimateRow:
    """An estimate after a message.

    Attributes:
        seq: number of the message among the person's.
        time: when everything that was read had been said, microseconds.
        distribution: over the totals, shape (28,).
        figures: by the names in `FIGURES`.
        increment: mean less the mean after the turn before; None for the first.
        departure: part of it because turns grew too old.
        window_turns: user turns in the window.
        window_words: their words.
    """

    seq: int
    time: int
    distribution: Array
    figures: dict[str, float]
    increment: float | None
    departure: float | None
    window_turns: int
    window_words: int


def pack_distribution(distribution: Array) -> bytes:
    """A distribution as the store keeps it."""
    array = np.asarray(distribution, dtype=DISTRIBUTION_TYPE)
    if array.shape != (TOTALS,) or not np.isfinite(array).all():
        raise LeadlineError(
            "An estimate is no distribution over the totals 0 to 27.",
            remedy="Use a run whose checkpoint verifies; nothing of this estimate was stored.",
        )
    return array.tobytes()


def unpack_distribution(packed: bytes) -> Array:
    """The inverse of `pack_distribution`, shape (28,)."""
    return np.frombuffer(packed, dtype=DISTRIBUTION_TYPE).astype(np.float64)


def write_estimates(
    connection: Connection,
    person_id: str,
    model_id: str,
    revision: int,
    rows: Sequence[EstimateRow],
    now: int,
) -> None:
    """Add estimates of one person by one model."""
    values = [
        {
            "person_id": person_id,
            "seq": row.seq,
            "model_id": model_id,
            "revision": revision,
            "time": row.time,
            "made_at": now,
            "superseded_at": None,
            "distribution": pack_distribution(row.distribution),
            **{name: _finite(row.figures[name]) for name in FIGURES},
            "increment": row.increment,
            "departure": row.departure,
            "window_turns": row.window_turns,
            "window_words": row.window_words,
        }
        for row in rows
    ]
    if values:
        connection.execute(insert(estimate), values)


def _finite(figure: float) -> float:
    if not np.isfinite(figure):
        raise LeadlineError(
            "An estimate holds a number that is not finite.",
            remedy="Use a run whose checkpoint verifies; nothing of this estimate was stored.",
        )
    return float(figure)


def supersede_estimates(
    connection: Connection, person_id: str, seqs: Iterable[int], now: int
) -> None:
    """Say that the estimates after these messages no longer count, whatever model made them.

    They stay to be looked up.
    """
    numbers = list(seqs)
    for first in range(0, len(numbers), 500):  # databases bound the length of a list
        connection.execute(
            update(estimate)
            .where(
                estimate.c.person_id == person_id,
                estimate.c.seq.in_(numbers[first : first + 500]),
                estimate.c.superseded_at.is_(None),
            )
            .values(superseded_at=now)
        )


def read_estimates(
    connection: Connection, person_id: str, model_id: str, asof: int | None = None
) -> list[Any]:
    """Estimates of a person by a model in the order in which their messages are read.

    Args:
        connection: of a transaction.
        person_id: of the store.
        model_id: of the run.
        asof: what was known then, microseconds; None: what counts now.
    """
    of_message = (message.c.person_id == estimate.c.person_id) & (message.c.seq == estimate.c.seq)
    query = (
        select(estimate)
        .outerjoin(message, of_message)
        .where(estimate.c.person_id == person_id, estimate.c.model_id == model_id)
        .where(counted(estimate.c, asof, "made_at", "superseded_at"))
        .order_by(estimate.c.time, message.c.turn, estimate.c.seq)
    )
    return list(connection.execute(query).mappings())


def counted(columns: Any, asof: int | None, made_name: str, ended: str) -> Any:
    """The rows that count now, or counted at `asof`."""
    if asof is None:
        return columns[ended].is_(None)
    return (columns[made_name] <= asof) & or_(columns[ended].is_(None), columns[ended] > asof)
