"""Times of the store: whole microseconds since 1970-01-01 UTC, and days as courses count them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000  # microseconds
SECOND = 1_000_000
MICROSECOND = timedelta(microseconds=1)


def now() -> int:
    """The present moment."""
    return time.time_ns() // 1000


def microseconds(moment: datetime) -> int:
    """A moment that knows its zone.

    Raises:
        ValueError: it knows no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return (moment - EPOCH) // MICROSECOND


def moment(microsecond: int) -> datetime:
    """The inverse of `microseconds`, in UTC."""
    return EPOCH + microsecond * MICROSECOND


def day(microsecond: int) -> float:
    """Days since 1970-01-01 UTC."""
    return microsecond / DAY
