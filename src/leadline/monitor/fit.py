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
from leadline.monitor.statespace import SEVERITY, CourseParameters, filter_states

ENOUGH_PEOPLE = 50
BOUNDS = [*[(np.log(0.3), np.log(15))] * 2, (np.log(3), np.log(730)), (-5, 3), (0, np.log(5))]
STEPS = 40  # of the optimiser; a fit ends sooner


def answer_log_likelihood(histories: Sequence[History], parameters: CourseParameters) -> float:
    """Log-likelihood of the PHQ-9s, each given what came before it."""
    none = [np.empty(0)] * len(histories)
    observations = stack_histories(histories, parameters, none)
    forward = filter_states(observations, parameters)
    variance = forward.innovation_variance
    answers = np.isfinite(variance) & (observations.design == SEVERITY).all(axis=2)
    squares = forward.innovation[answers] ** 2 / variance[answers]
    return float(-0.5 * np.sum(squares + np.log(2 * np.pi * variance[answers])))


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
        parameters = _parameters(numbers, first)
        return -answer_log_likelihood(answered, parameters) / len(answered)

    best = minimize(
        loss,
        _numbers(first),
        method="L-BFGS-B",
        bounds=BOUNDS,
        options={"maxiter": STEPS},
    )
    return replace(_parameters(best.x, first), people=several)


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
