"""Filter and smoother against brute-force conditioning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.conditioning import condition

from leadline.errors import LeadlineError
from leadline.monitor.statespace import (
    SEVERITY,
    CourseParameters,
    SeverityObservations,
    filter_states,
    smooth_severity,
)

PARAMETERS = [CourseParameters(), replace(CourseParameters(), stationary=False, lasting_share=0.2)]


def observations(
    parameters: CourseParameters, people: int = 3, columns: int = 14
) -> SeverityObservations:
    """Irregular times, two at one time, estimates, PHQ-9s and days without either."""
    rng = np.random.default_rng(4)
    day = np.sort(rng.uniform(0, 120, (people, columns)), axis=1)
    day[:, 5] = day[:, 6]
    mean, variance = rng.uniform(2, 22, day.size), rng.uniform(8, 45, day.size)
    observed, design, noise = parameters.estimate_equation(mean, variance)
    observed, noise = observed.reshape(day.shape), noise.reshape(day.shape)
    design = design.reshape(*day.shape, 4)
    design[:, [3, 6, 10]], noise[:, [3, 6, 10]] = SEVERITY, parameters.sem**2
    noise[:, [0, 8, 13]] = np.inf
    return SeverityObservations(day, observed, design, noise)


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_the_filter_is_conditioning_on_what_came_before(parameters: CourseParameters) -> None:
    given_all = observations(parameters)
    forward = filter_states(given_all, parameters)
    for person in range(3):
        for k in range(14):
            mean, covariance = condition(parameters, given_all, person, k + 1)
            block = slice(4 * k, 4 * k + 4)
            np.testing.assert_allclose(forward.mean[person, k], mean[block], atol=1e-9)
            np.testing.assert_allclose(
                forward.covariance[person, k], covariance[block, block], atol=1e-9
            )


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_the_smoother_is_conditioning_on_everything(parameters: CourseParameters) -> None:
    given_all = observations(parameters)
    mean, variance = smooth_severity(given_all, parameters)
    for person in range(3):
        states, covariance = condition(parameters, given_all, person, 14)
        for k in range(14):
            block = slice(4 * k, 4 * k + 4)
            assert mean[person, k] == pytest.approx(SEVERITY @ states[block], abs=1e-9)
            exact = SEVERITY @ covariance[block, block] @ SEVERITY
            assert variance[person, k] == pytest.approx(exact, abs=1e-9)


def test_the_change_since_a_reference_is_conditioning_on_both_ends() -> None:
    parameters = CourseParameters()
    given_all = observations(parameters)
    forward = filter_states(given_all, parameters, np.array([2, 7, 0]))
    difference = np.append(SEVERITY, -1.0)
    for person, column in enumerate((2, 7, 0)):
        states, covariance = condition(parameters, given_all, person, 14)
        weights = np.zeros(14 * 4)
        weights[-4:] += SEVERITY
        weights[4 * column : 4 * column + 4] -= SEVERITY
        assert difference @ forward.mean[person, -1] == pytest.approx(weights @ states, abs=1e-9)
        spread = difference @ forward.covariance[person, -1] @ difference
        assert spread == pytest.approx(weights @ covariance @ weights, abs=1e-9)


def test_an_estimate_that_says_nothing_is_not_observed() -> None:
    _, design, noise = CourseParameters().estimate_equation(np.array([10.0]), np.array([60.0]))
    assert np.isinf(noise).all()
    assert not design.any()


def test_a_calibrated_estimate_of_a_stranger_is_taken_as_it_is() -> None:
    """The posterior of one estimate alone is that estimate: the prior is not counted twice."""
    parameters = CourseParameters()
    observed, design, noise = parameters.estimate_equation(np.array([17.0]), np.array([20.0]))
    table = SeverityObservations(np.zeros((1, 1)), observed[None], design[None], noise[None])
    forward = filter_states(table, parameters)
    assert SEVERITY @ forward.mean[0, 0] == pytest.approx(17.0)
    variance = SEVERITY @ forward.covariance[0, 0] @ SEVERITY
    assert variance == pytest.approx(20.0 - parameters.sem**2)


@pytest.mark.parametrize("wrong", [{"path_days": 0.0}, {"sem": float("nan")},
                                   {"lasting_share": 0.99}, {"own_share": 0.0}])  # fmt: skip
def test_parameters_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LeadlineError, match=r"course|shares"):
        replace(CourseParameters(), **wrong)


def test_what_is_delivered_is_never_narrower_and_keeps_the_order_of_spreads() -> None:
    variances = np.array([0.0, 1.0, 4.0, 30.0])
    for widening, slope in ((-0.3, 0.0), (0.0, 0.0), (0.2, 0.1), (0.1, -0.5), (5.0, 5.0)):
        parameters = CourseParameters(widening=widening, widening_slope=slope)
        for mean in (-5.0, 0.0, 10.5, 27.0, 60.0):
            delivered = parameters.widened(np.full(4, mean), variances)
            assert (delivered >= variances - 1e-9).all()
            assert (np.diff(delivered) > 0).all()
    exact = CourseParameters(widening=0.0)
    np.testing.assert_allclose(exact.widened(np.full(4, 9.0), variances), variances, atol=1e-9)
    twice = CourseParameters(widening=0.0, widening_slope=np.log(2.0), sem=2.0)
    (wide,) = twice.widened(np.array([20.5]), np.array([5.0]))
    assert wide + 4.0 == pytest.approx(4 * (5.0 + 4.0))  # a total's spread is twice as wide
