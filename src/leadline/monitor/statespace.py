"""The state of a person as a small Gaussian state-space model: filter and smoother, people at once.

The state is (mu, x, b, w): level of the person, path around it (Ornstein-Uhlenbeck, or a local
level), the lasting error of the person's estimates and the error that overlapping windows share.
The severity is theta = mu + x. An estimate of mean m and variance V (of a total) is a posterior
mean: the population is already in it. With v the error of theta given the text and
lam = 1 - v / (omega^2 + sigma^2),

    m = m0 + lam (theta - m0) + sqrt(lam v) (sqrt(kappa) b + sqrt(1 - kappa - nu) w + sqrt(nu) eta),

which filters without counting the population twice. A PHQ-9 is theta plus the standard error of
measurement. Scalar updates in the order of time; the smoother goes backwards by the recursions of
Durbin and Koopman, Time Series Analysis by State Space Methods, 2012, sections 4.4 and 6.4, which
invert nothing. Irregular gaps are exact: between two times the state moves by a diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Ints
from leadline.errors import LeadlineError
from leadline.phq9.distribution import OWN_ERROR

SEVERITY = np.array([1.0, 1.0, 0.0, 0.0])  # theta = mu + x
STATES = len(SEVERITY)
LEVEL, PATH, OFFSET, SHARED = range(STATES)
LEVELS = (-1.5, 1.8)  # tens of points from the mean, beyond which widening stays as it is
MOST_WIDENING = 1.2
SMALLEST_VARIANCE = 1.0  # points squared; what text says of theta is never closer than a point


@dataclass(frozen=True)
class CourseParameters:
    """The process of severity and the errors of its estimates.

    The defaults are for help-seekers whose totals have a standard deviation of 6.25 at a retest
    reliability of .84: omega^2 + sigma^2 + sem^2 = 6.25^2.

    Attributes:
        mean: m0, mean severity of the population, points.
        level_sd: omega, spread of people's levels, points.
        path_sd: sigma, spread of a person's path around the level, points.
        path_days: tau, days in which the path forgets.
        lasting_share: kappa, share of the error variance of estimates that stays with the person.
        own_share: nu, share that is of one estimate alone.
        shared_days: tau_w, days in which the shared error forgets: half the window of text.
        sem: standard error of measurement of a PHQ-9, points.
        stationary: an Ornstein-Uhlenbeck path; False: a local level with the same steps in a day.
        widening: log of the factor by which what is delivered is wider than the model says, at the
            mean of the population. The model is normal and knows neither floor nor ceiling.
        widening_slope: the same, more for each 10 points above the mean. Never narrower than said.
        people: with two PHQ-9s or more that the parameters were fitted on; 0: these are defaults.
    """

    mean: float = 10.5
    level_sd: float = 4.8
    path_sd: float = 3.1
    path_days: float = 30.0
    lasting_share: float = 0.4
    own_share: float = 0.05
    shared_days: float = 7.0
    sem: float = OWN_ERROR
    stationary: bool = True
    widening: float = 0.2
    widening_slope: float = 0.0
    people: int = 0

    def __post_init__(self) -> None:
        scales = (self.level_sd, self.path_sd, self.path_days, self.shared_days, self.sem)
        if not all(np.isfinite(scale) and scale > 0 for scale in scales):
            raise LeadlineError(
                "A spread or a time of the course is not a positive number.",
                remedy="Give standard deviations in points and times in days, above 0.",
            )
        if self.lasting_share < 0 or self.own_share <= 0 or self.remaining_share < 0:
            raise LeadlineError(
                "The shares of the error of an estimate are not shares.",
                remedy="Give a lasting share of 0 or more and an own share above 0, together "
                "at most 1.",
            )

    @property
    def remaining_share(self) -> float:
        """Share of the error variance that overlapping windows have in common."""
        return 1.0 - self.lasting_share - self.own_share

    @property
    def severity_variance(self) -> float:
        """Variance of severity in the population, points squared."""
        return self.level_sd**2 + self.path_sd**2

    @property
    def fitted(self) -> bool:
        """Whether these were estimated from people, not defaults."""
        return self.people > 0

    def widened(self, mean: Array, variance: Array) -> Array:
        """Variance of severity as it is delivered, points squared, each of one shape.

        What is scaled is the spread of a total that would be answered: that is what can be held
        against PHQ-9s.
        """
        levels = np.clip((mean - self.mean) / 10, *LEVELS)
        log_factor = np.clip(self.widening + self.widening_slope * levels, 0.0, MOST_WIDENING)
        error = self.sem**2
        out: Array = np.exp(2 * log_factor) * (np.maximum(variance, 0.0) + error) - error
        return out

    def start(self) -> tuple[Array, Array]:
        """Mean (4,) and covariance (4, 4) of the state before anything is observed."""
        variance = [self.level_sd**2, self.path_sd**2, 1.0, 1.0]
        return np.array([self.mean, 0.0, 0.0, 0.0]), np.diag(variance)

    def transition(self, gap: Array) -> tuple[Array, Array]:
        """Factors and added variances of the state over gaps in days, each (*gap.shape, 4)."""
        factor = np.ones((*gap.shape, STATES))
        noise = np.zeros_like(factor)
        if self.stationary:
            factor[..., PATH] = np.exp(-gap / self.path_days)
            noise[..., PATH] = -(self.path_sd**2) * np.expm1(-2 * gap / self.path_days)
        else:
            noise[..., PATH] = 2 * self.path_sd**2 * gap / self.path_days
        factor[..., SHARED] = np.exp(-gap / self.shared_days)
        noise[..., SHARED] = -np.expm1(-2 * gap / self.shared_days)
        return factor, noise

    def estimate_equation(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Estimates as scalar observations of the state: their un-shrunk form.

        Args:
            mean: of the estimated total, shape (R,).
            variance: of the estimated total, points squared, shape (R,).

        Returns:
            Observed (R,), design (R, 4) and noise variance (R,); the noise is infinite where the
            text says nothing.
        """
        error = np.maximum(variance - self.sem**2, SMALLEST_VARIANCE)
        share = np.maximum(1 - error / self.severity_variance, 0.0)
        scale = share * error
        columns = (share, share, np.sqrt(scale * self.lasting_share),
                   np.sqrt(scale * self.remaining_share))  # fmt: skip
        noise = np.where(share > 0, scale * self.own_share, np.inf)
        return mean - (1 - share) * self.mean, np.stack(columns, axis=-1), noise


@dataclass(frozen=True, eq=False)
class SeverityObservations:
    """Scalar observations of P people, K each, in the order of time.

    Attributes:
        day: days since any one moment, never falling along a row, shape (P, K).
        observed: shape (P, K).
        design: what the state is multiplied by, shape (P, K, 4).
        noise: variances, infinite where nothing is observed at that time, shape (P, K).
    """

    day: Array
    observed: Array
    design: Array
    noise: Array


@dataclass(frozen=True, eq=False)
class FilterPass:
    """The state at each observation of P people, before and after it.

    Attributes:
        predicted_mean: shape (P, K, N); N is 4, or 5 with the severity at a reference.
        predicted_covariance: shape (P, K, N, N).
        mean: after the observation, shape (P, K, N).
        covariance: after the observation, shape (P, K, N, N).
        innovation: observed less expected, 0 where nothing is observed, shape (P, K).
        innovation_variance: infinite where nothing is observed, shape (P, K).
    """

    predicted_mean: Array
    predicted_covariance: Array
    mean: Array
    covariance: Array
    innovation: Array
    innovation_variance: Array


def filter_states(
    observations: SeverityObservations, parameters: CourseParameters, reference: Ints | None = None
) -> FilterPass:
    """Kalman filter of P people at once.

    Args:
        observations: of the people.
        parameters: of the model.
        reference: for each person the column whose severity is kept as a fifth state, (P,).
    """
    people, columns = observations.day.shape
    size = STATES + (reference is not None)
    start, spread = parameters.start()
    mean, covariance = np.zeros((people, size)), np.zeros((people, size, size))
    mean[:, :STATES], covariance[:, :STATES, :STATES] = start, spread
    factor, added = np.ones((people, columns, size)), np.zeros((people, columns, size))
    gaps = np.diff(observations.day, axis=1, prepend=observations.day[:, :1])
    factor[..., :STATES], added[..., :STATES] = parameters.transition(gaps)
    design = np.zeros((people, columns, size))
    design[..., :STATES] = observations.design
    out = _room(people, columns, size)
    diagonal = np.arange(size)
    for k in range(columns):
        f, h = factor[:, k], design[:, k]
        mean = mean * f
        covariance = covariance * f[:, :, None] * f[:, None, :]
        covariance[:, diagonal, diagonal] += added[:, k]
        if reference is not None:
            _keep_severity(mean, covariance, reference == k)
        out.predicted_mean[:, k], out.predicted_covariance[:, k] = mean, covariance
        spread_h = (covariance * h[:, None, :]).sum(axis=2)
        variance = (h * spread_h).sum(axis=1) + observations.noise[:, k]
        surprise = observations.observed[:, k] - (h * mean).sum(axis=1)
        surprise = np.where(np.isfinite(variance), surprise, 0.0)
        gain = spread_h / variance[:, None]
        mean = mean + gain * surprise[:, None]
        covariance = covariance - gain[:, :, None] * spread_h[:, None, :]
        out.mean[:, k], out.covariance[:, k] = mean, covariance
        out.innovation[:, k], out.innovation_variance[:, k] = surprise, variance
    return out


def _room(people: int, columns: int, size: int) -> FilterPass:
    """Arrays that a pass of the filter fills."""
    means = (people, columns, size)
    squares = (people, columns, size, size)
    return FilterPass(
        np.empty(means), np.empty(squares), np.empty(means), np.empty(squares),
        np.empty((people, columns)), np.empty((people, columns)),
    )  # fmt: skip


def _keep_severity(mean: Array, covariance: Array, now: Array) -> None:
    """Make the last state the severity of this moment, for the people at whom `now` is true."""
    mean[now, STATES] = mean[now][:, :STATES] @ SEVERITY
    column = covariance[now][:, :, :STATES] @ SEVERITY
    covariance[now, :, STATES] = column
    covariance[now, STATES, :] = column
    covariance[now, STATES, STATES] = column[:, :STATES] @ SEVERITY


def smooth_severity(
    observations: SeverityObservations, parameters: CourseParameters
) -> tuple[Array, Array]:
    """Mean and variance of severity at each time, given all observations, each (P, K)."""
    forward = filter_states(observations, parameters)
    people, columns = observations.day.shape
    gaps = np.diff(observations.day, axis=1, append=observations.day[:, -1:])
    factor, _ = parameters.transition(gaps)
    before, h = forward.predicted_covariance, observations.design
    inverse = 1 / forward.innovation_variance
    gain = (before @ h[..., None])[..., 0] * inverse[..., None]
    # From the state before an observation to the state before the next one, transposed.
    back = (np.eye(STATES) - h[..., :, None] * gain[..., None, :]) * factor[..., None, :]
    pull = h * (forward.innovation * inverse)[..., None]
    weight = h[..., :, None] * h[..., None, :] * inverse[..., None, None]
    r, n = np.zeros((people, columns, STATES)), np.zeros((people, columns, STATES, STATES))
    later_r, later_n = np.zeros((people, STATES, 1)), np.zeros((people, STATES, STATES))
    for k in reversed(range(columns)):
        step = back[:, k]
        later_r = step @ later_r + pull[:, k, :, None]
        later_n = step @ later_n @ step.transpose(0, 2, 1) + weight[:, k]
        r[:, k], n[:, k] = later_r[..., 0], later_n
    column = before @ SEVERITY
    mean = forward.predicted_mean @ SEVERITY + (column * r).sum(axis=2)
    explained = (column[..., None, :] @ n @ column[..., :, None])[..., 0, 0]
    return mean, column @ SEVERITY - explained
