"""What so many people can bear, held against published figures and against simulation."""

import numpy as np
import pytest

from leadline.evaluate.precision import (
    ENOUGH_ON_A_SIDE,
    ENOUGH_PEOPLE,
    PLANNED_R,
    SD_OF_ERRORS,
    Precision,
    precision_of,
)


def test_the_mae_of_a_published_test_has_its_published_interval():
    assert Precision(842, 400, 442).mae_half_width() == pytest.approx(0.21, abs=0.005)


def test_the_interval_of_r_is_as_wide_as_correlations_of_samples_scatter():
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 50))
    y = PLANNED_R * x + np.sqrt(1 - PLANNED_R**2) * random.normal(size=x.shape)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    low, high = Precision(50, 25, 25).r_interval()
    width = np.quantile(r, 0.975) - np.quantile(r, 0.025)
    assert high - low == pytest.approx(width, rel=0.1)
    assert Precision(3, 1, 2).r_interval() is None


def test_a_rate_in_few_people_is_known_badly_and_in_nobody_not_at_all():
    few, many = (Precision(n, n, 0).rate_interval(n) for n in (8, 400))
    assert few[1] - few[0] > 0.4
    assert many[1] - many[0] < 0.08
    assert Precision(8, 8, 0).rate_interval(0) is None


@pytest.mark.parametrize(
    ("counts", "weak"),
    [((100, 40, 60), False), ((99, 40, 59), True), ((200, 29, 171), True), ((200, 171, 29), True)],
)
def test_few_people_or_few_on_a_side_are_warned_of(counts, weak):
    assert (ENOUGH_PEOPLE, ENOUGH_ON_A_SIDE) == (100, 30)
    lines = Precision(*counts).lines("This test")
    assert lines[0].startswith(f"This test has {counts[0]} people, {counts[1]} at 10 or more")
    assert (len(lines) == 2) == weak == Precision(*counts).as_dict()["weak"]
    if weak:
        assert lines[1].startswith("Warning")


def test_people_without_severe_totals_still_give_a_line():
    assert "a sensitivity of 0.85 as anything" in Precision(8, 0, 8).lines("X")[0]


def test_each_person_counts_once_by_their_mean():
    precision = precision_of(np.array([9.0, 12, 3, 20]), np.array(["a", "a", "b", "c"]))
    assert (precision.people, precision.above, precision.below) == (3, 2, 1)


def test_the_planned_spread_of_errors_is_that_of_a_normal_error_of_a_good_model():
    errors = np.abs(np.random.default_rng(0).normal(0, 5.1, 100_000))
    assert errors.std() == pytest.approx(SD_OF_ERRORS, abs=0.1)
