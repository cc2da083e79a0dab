"""Brute-force Gaussian conditioning: the course of a person from one covariance matrix."""

from __future__ import annotations

import numpy as np

from leadline.arrays import Array
from leadline.monitor.statespace import CourseParameters, SeverityObservations


def prior(parameters: CourseParameters, day: Array) -> tuple[Array, Array]:
    """Mean (4K,) and covariance (4K, 4K) of the states at K days, from the kernels."""
    gap = np.abs(day[:, None] - day[None, :])
    ones = np.ones_like(gap)
    if parameters.stationary:
        path = parameters.path_sd**2 * np.exp(-gap / parameters.path_days)
    else:
        elapsed = np.minimum(day[:, None], day[None, :]) - day[0]
        path = parameters.path_sd**2 * (1 + 2 * elapsed / parameters.path_days)
    kernels = (parameters.level_sd**2 * ones, path, ones, np.exp(-gap / parameters.shared_days))
    covariance = np.zeros((len(day), 4, len(day), 4))
    for state, kernel in enumerate(kernels):
        covariance[:, state, :, state] = kernel
    mean = np.zeros((len(day), 4))
    mean[:, 0] = parameters.mean
    return mean.ravel(), covariance.reshape(4 * len(day), 4 * len(day))


def condition(
    parameters: CourseParameters, observations: SeverityObservations, person: int, upto: int
) -> tuple[Array, Array]:
    """States at all columns given the first `upto` columns of a person: mean, covariance."""
    day = observations.day[person]
    mean, covariance = prior(parameters, day)
    used = [k for k in range(upto) if np.isfinite(observations.noise[person, k])]
    design = np.zeros((len(used), len(mean)))
    for row, k in enumerate(used):
        design[row, 4 * k : 4 * k + 4] = observations.design[person, k]
    noise = np.diag(observations.noise[person, used])
    cross = covariance @ design.T
    gain = cross @ np.linalg.inv(design @ cross + noise)
    mean = mean + gain @ (observations.observed[person, used] - design @ mean)
    return mean, covariance - gain @ cross.T
