"""Whole microseconds, both ways."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.store.times import DAY, day, microseconds, moment, now


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_a_moment_comes_back(when):
    assert moment(microseconds(when)) == when


def test_zones_are_taken_into_account_and_needed():
    east = timezone(timedelta(hours=2))
    assert microseconds(datetime(1970, 1, 1, 2, tzinfo=east)) == 0
    with pytest.raises(ValueError, match="zone"):
        microseconds(datetime(2020, 1, 1))


def test_days_and_now():
    assert day(DAY * 3 // 2) == 1.5
    assert abs(now() - time.time() * 1e6) < 5e6
