"""Times as people write them; test_times.py has their way to UTC."""

from __future__ import annotations

from datetime import datetime

import pytest

from leadline.sources.spoken_times import day_order, is_ambiguous, spoken_time


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2024/05/01 12:30 AM", 0), ("2024/05/01 12:30 PM", 12), ("2024/05/01 1:30 p.m.", 13),
     ("01.05.24, 09:30:00", 9), ("2024-5-1 9:30", 9), ("May 1st, 2024 9:30", 9),
     ("01-May-24 9:30", 9), ("01MAY2024:09:30:00", 9), ("1/May/2024 9:30", 9),
     ("Wednesday, 1 May 2024 at 09:30:00 UTC", 9)],
)  # fmt: skip
def test_halves_of_the_day(text: str, hour: int) -> None:
    moment = spoken_time(text, "ask")
    assert moment is not None
    assert moment.local == datetime(2024, 5, 1, hour, 30)


@pytest.mark.parametrize(
    "text", ["soon", "32/01/2024", "2024/13/01", "13:30 PM", "1 Foo 2024", "03/04/2024", ""]
)
def test_what_is_no_time_or_two_days(text: str) -> None:
    assert spoken_time(text, "ask") is None


def test_the_order_of_day_and_month() -> None:
    assert day_order(["03/04/2024", "25/04/2024"], "ask") == "dmy"
    assert day_order(["04/25/2024"], "ask") == "mdy"
    assert day_order(["25/04/2024", "04/25/2024"], "ask") == "ask"
    assert day_order(["03/04/2024"], "mdy") == "mdy"
    assert is_ambiguous("03/04/2024")
    assert not is_ambiguous("03.04.2024")
    assert not is_ambiguous("25/04/2024")


def test_offsets_of_zones() -> None:
    for text, minutes in (("2024/05/01 10:00 GMT+2", 120), ("2024/05/01 10:00 -0430", -270),
                          ("2024/05/01 10:00 UTC", 0), ("2024/05/01 10:00", None)):  # fmt: skip
        moment = spoken_time(text, "ask")
        assert moment is not None
        assert moment.offset == minutes
