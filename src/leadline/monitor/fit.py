"""Parameters of the course by maximum likelihood, from out-of-fold estimates and PHQ-9s.

What is maximised is how likely each PHQ-9 was, given the estimates and PHQ-9s before it: the
predictive likelihood of the PHQ-9s alone, so that nothing rests on how estimates follow each other.
The estimates have to be out of fold: those of people a model was trained on are too good. The
mean of the population is that of people's mean PHQ-9s: the likelihood hardly tells it from the
lasting errors of estimates. The times of overlapping windows and the part of an estimate's error
that is its own are not fitted. Below 50 people with two PHQ-9s the defaults stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from leadline.arrays import Array
from leadline.monitor.course import History, stack_histories
from leadline.monitor.statespace import LEVELS, SEVERITY, CourseParameters, filter_states

ENOUGH_PEOPLE = 50
BOUNDS = [*[(np.log(0.3), np.log(15))] * 2, (np.log(3), np.log(730)), (-5, 3), (0, np.log(5))]
STEPS = 40  # of the optimiser; a fit ends sooner
SEM_DOUBT = 0.1  # SD of the log of the published standard error, which the likelihood hardly tells
WIDENING_MEAN = (0.1, 0.0)  # what is thought of the widening before people are seen
WIDENING_SD = (0.15, 0.5)


def answer_log_likelihood(histories: Sequence[History], parameters: CourseParameters) -> float:
    """Log-likelihood of the PHQ-9s, each given what came before it."""
    _, surprise, variance = _foretold(histories, parameters)
    return float(-0.5 * np.sum(surprise**2 / variance + np.log(2 * np.pi * variance)))


def _foretold(
    histories: Sequence[History], parameters: CourseParameters
) -> tuple[Array, Array, Array]:
    """Of each PHQ-9, given what came before: expected total, the rest, and the variance, (A,)."""
    none = [np.empty(0)] * len(histories)
    observations = stack_histories(histories, parameters, none)
    forward = filter_states(observations, parameters)
    variance = forward.innovation_variance
    answers = np.isfinite(variance) & (observations.design == SEVERITY).all(axis=2)
    mean = (forward.predicted_mean @ SEVERITY)[answers]
    return mean, forward.innovation[answers], variance[answers]


def fit_widening(histories: Sequence[History], parameters: CourseParameters) -> CourseParameters:
    """The same parameters with a widening at which PHQ-9s lie as far out as they are said to.

    A normal likelihood whose log standard deviation is a line of the expected total, with a normal
    prior on both numbers.
    """
    mean, surprise, variance = _foretold(histories, parameters)
    levels = np.clip((mean - parameters.mean) / 10, *LEVELS)
    squares = surprise**2 / variance
    centre, doubt = np.array(WIDENING_MEAN), np.array(WIDENING_SD)

    def loss(numbers: Array) -> float:
        log_factor = numbers[0] + numbers[1] * levels
        fit = np.sum(0.5 * squares * np.exp(-2 * log_factor) + log_factor)
        return float(fit + 0.5 * np.sum(((numbers - centre) / doubt) ** 2))

    widening, slope = minimize(loss, centre, method="L-BFGS-B").x
    return replace(parameters, widening=float(widening), widening_slope=float(slope))


def fit_parameters(
    histories: Sequence[History], start: CourseParameters | None = None
) -> CourseParameters:
    """Parameters from people with PHQ-9s; `start` (or the defaults) where there are too few.

    Args:
        histories: of people with out-of-fold estimates.
        start: where the search begins; what is not fitted is taken over.
    """
    first = start or CourseParameters()
    answered = [history for history in histories if history.answers]
    several = sum(len(history.answers) >= 2 for history in answered)
    if several < ENOUGH_PEOPLE:
        return replace(first, people=0)

    means = [np.mean([answer.total for answer in history.answers]) for history in answered]
    first = replace(first, mean=float(np.mean(means)))

    def loss(numbers: Array) -> float:
        doubt = 0.5 * ((numbers[-1] - np.log(first.sem)) / SEM_DOUBT) ** 2
        likelihood = answer_log_likelihood(answered, _parameters(numbers, first))
        return float(doubt - likelihood) / len(answered)

    best = minimize(
        loss,
        _numbers(first),
        method="L-BFGS-B",
        bounds=BOUNDS,
        options={"maxiter": STEPS},
    )
    return fit_widening(answered, replace(_parameters(best.x, first), people=several))


def _numbers(parameters: CourseParameters) -> Array:
    """The fitted parameters as unbounded numbers."""
    share = parameters.lasting_share / (1 - parameters.own_share)
    return np.array([
        np.log(parameters.level_sd), np.log(parameters.path_sd),
        np.log(parameters.path_days), logit(np.clip(share, 0.01, 0.95)), np.log(parameters.sem),
    ])  # fmt: skip


def _parameters(numbers: Array, first: CourseParameters) -> CourseParameters:
    """The inverse of `_numbers`."""
    return replace(
        first,
        level_sd=float(np.exp(numbers[0])),
        path_sd=float(np.exp(numbers[1])),
        path_days=float(np.exp(numbers[2])),
        lasting_share=float(expit(numbers[3])) * (1 - first.own_share),
        sem=float(np.exp(numbers[4])),
    )
