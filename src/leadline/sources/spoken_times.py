"""Times as programs show them to people: 2024/05/03 10:00 AM GMT+2, 3 May 2024, 03.05.2024.

Days and months that are told apart by nothing but their place (03/04/2024) are read in the order
that is given, or that another value of the same column proves, and else refused: they mean
different days in different countries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

CLOCK = (
    r"(?:[T ,]+(?P<h>\d{1,2})[:.](?P<m>\d{2})(?:[:.](?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
    r"[\s\u202f]*+(?P<half>[AaPp]\.?[Mm]\.?)?)?"
    r"\s*+(?P<zone>Z|UTC|GMT)?\s*+(?P<offset>[+-]\d{1,2}(?::?\d{2})?)?"
)

YEAR_FIRST = re.compile(rf"^(?P<y>\d{{4}})[-/.](?P<a>\d{{1,2}})[-/.](?P<b>\d{{1,2}}){CLOCK}$")

YEAR_LAST = re.compile(
    rf"^(?P<a>\d{{1,2}})(?P<sep>[-/.])(?P<b>\d{{1,2}})[-/.](?P<y>\d{{4}}|\d{{2}}){CLOCK}$"
)

DAY_NAME = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[,. ]+)?"

DAY_MONTH = re.compile(
    rf"^{DAY_NAME}(?P<a>\d{{1,2}})(?:st|nd|rd|th)?[-. /]*(?P<mon>[a-z]{{3,9}})[-., /]*"
    rf"(?P<y>\d{{4}}|\d{{2}})(?!\d){CLOCK}$",
    re.IGNORECASE,
)

MONTH_DAY = re.compile(
    rf"^{DAY_NAME}(?P<mon>[a-z]{{3,9}})[-. ]+(?P<a>\d{{1,2}})(?:st|nd|rd|th)?[, ]+(?P<y>\d{{4}})"
    rf"{CLOCK}$",
    re.IGNORECASE,
)

YEAR_AT_END = re.compile(
    rf"^{DAY_NAME}(?P<mon>[a-z]{{3}}) (?P<a>\d{{1,2}}){CLOCK} ?(?<= )(?P<y>\d{{4}})$", re.IGNORECASE
)  # the clock may have taken the space

SAS = re.compile(r"^(\d{1,2}[A-Za-z]{3}\d{4}):(?=\d)")  # 03MAY2024:08:00:00

ZONE_NAME = re.compile(r"(?<=[+-]\d{4}) \([^()]{1,60}\)$")  # GMT+0200 (CEST), of JavaScript

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

COMPACT = re.compile(
    r"^(?P<y>(?:19|20)\d{2})(?P<a>\d{2})(?P<b>\d{2})"
    r"(?:[T ]?(?P<h>\d{2})(?P<m>\d{2})(?P<s>\d{2})?)?(?P<zone>Z)?(?P<offset>[+-]\d{2}:?\d{2})?$"
)


class SpokenTime(NamedTuple):
    """A time as it is written.

    Attributes:
        local: date and clock.
        offset: minutes east of UTC, None where no zone is named.
        date_only: there is no clock.
    """

    local: datetime
    offset: int | None
    date_only: bool


def day_order(texts: Iterable[str], order: str) -> str:
    """``dmy`` or ``mdy`` as given, else as the values prove; ``ask`` where nothing is proved."""
    if order != "ask":
        return order
    proofs = set()
    for text in texts:
        match = YEAR_LAST.match(text.strip())
        if match is None or match["sep"] == ".":
            continue
        if int(match["a"]) > 12:
            proofs.add("dmy")
        elif int(match["b"]) > 12:
            proofs.add("mdy")
    return proofs.pop() if len(proofs) == 1 else "ask"


def is_ambiguous(text: str) -> bool:
    """Whether day and month of a date are told apart by nothing but their place."""
    match = YEAR_LAST.match(text.strip())
    return match is not None and match["sep"] != "." and max(int(match["a"]), int(match["b"])) <= 12


def spoken_time(text: str, order: str) -> SpokenTime | None:
    """The time of a text; None where it is none, or could be two days.

    Args:
        text: one value.
        order: ``dmy``, ``mdy`` or ``ask``, as `day_order` gives it.
    """
    text = " ".join(text.replace("\u200e", "").replace("\u202f", " ").split())
    text = SAS.sub(r"\1 ", ZONE_NAME.sub("", text)).replace(" at ", " ")
    match = COMPACT.match(text) or YEAR_FIRST.match(text)
    if match is not None:
        return _time(match, int(match["a"]), int(match["b"]))
    match = YEAR_LAST.match(text)
    if match is not None:
        first, second = int(match["a"]), int(match["b"])
        if match["sep"] == "." or order == "dmy" or (order == "ask" and first > 12):
            return _time(match, second, first)
        if order == "mdy" or second > 12:
            return _time(match, first, second)
        return None
    for pattern in (DAY_MONTH, MONTH_DAY, YEAR_AT_END):
        match = pattern.match(text)
        if match is not None and match["mon"][:3].lower() in MONTHS:
            return _time(match, MONTHS.index(match["mon"][:3].lower()) + 1, int(match["a"]))
    return None


def _time(match: re.Match[str], month: int, day: int) -> SpokenTime | None:
    parts = match.groupdict()
    year = int(parts["y"]) + (2000 if len(parts["y"]) == 2 else 0)
    hour = int(parts["h"] or 0)
    half = (parts.get("half") or "").lower().replace(".", "")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    fraction = (parts.get("f") or "0").ljust(6, "0")[:6]
    try:
        local = datetime(year, month, day, hour, int(parts["m"] or 0), int(parts["s"] or 0))
    except ValueError:
        return None
    local += timedelta(microseconds=int(fraction))
    return SpokenTime(local, _offset(parts), parts["h"] is None)


def _offset(parts: dict[str, str | None]) -> int | None:
    offset = parts.get("offset")
    if offset:
        digits = offset[1:].replace(":", "")
        hours, minutes = (digits, "0") if len(digits) <= 2 else (digits[:-2], digits[-2:])
        return (-1 if offset[0] == "-" else 1) * (int(hours) * 60 + int(minutes))
    return 0 if parts.get("zone") else None
