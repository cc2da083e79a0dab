"""What teachers and the student say of one true severity, and how much to believe each.

The model. Of person i in group g (labelled or not), with true severity T at the reading:

    T_i       ~ Normal(mu_g, tau_g^2)
    gold      y_i  = T_i + e_i,                     e_i ~ Normal(0, gold_sd^2), known
    rater r   t_irj = a_r + b_r T_i + u_ir + d_irj,  draws j = 1..J_ir
              u_i  ~ Normal(0, Psi), d_irj ~ Normal(0, delta_r^2)

A rater is a teacher (several draws share the error u, which their mean does not average
away) or the student, whose out-of-fold estimate is one draw. Psi is a full matrix: teacher
and student read the same words, so their errors correlate, and the correlation is estimated
from people with gold. How a rater answers given T is shared by both groups while the
distribution of T is not, because who completes a questionnaire depends on how they feel.

This is the congeneric measurement model with correlated errors (Joreskog 1971, "Statistical
analysis of sets of congeneric tests", Psychometrika 36) with gold as an indicator of known
error variance. The estimator is maximum likelihood over all people, each with what was
observed of them (full-information ML, the two groups as in Joreskog 1971, "Simultaneous
factor analysis in several populations"), maximised by SciPy's L-BFGS-B from moment starting
values; delta_r is the pooled within-person variance, which is its restricted ML estimate.
The posterior of T is the Gaussian regression score (Thomson 1938); `unbiased` is the
Bartlett (1937) score. Parameter uncertainty is not in the posterior standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.phq9.config import ReliabilityConfig
from leadline.phq9.reliability import standard_error

STUDENT = "student"  # the rater that is a model of ours
GOLD_SD = standard_error(ReliabilityConfig().reliability)  # of one PHQ-9, points

MIN_LABELLED = 30

TOP = 27.0

SMALLEST = 1e-3  # smallest standard deviation that a fit may reach, points


@dataclass(frozen=True)
class Observations:
    """What was observed of N readings, at most one per person.

    Attributes:
        gold: gold totals, shape (N,), NaN where there is none.
        draws: for each rater an array of shape (N, draws), NaN where a draw is missing. A
            student is a rater with one draw: its out-of-fold estimate.
        names: the raters' names.
    """

    gold: Array
    draws: tuple[Array, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = {len(self.gold)} | {len(values) for values in self.draws}
        if len(shapes) != 1 or len(self.names) != len(self.draws) or not self.draws:
            raise ValueError("gold and every rater need one row per reading, and a name each")

    @property
    def means(self) -> Array:
        """Mean of each rater's draws, shape (N, raters), NaN where there is none."""
        return np.column_stack([_row_mean(values) for values in self.draws])

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of draws, shape (N, raters)."""
        return np.column_stack([np.isfinite(values).sum(axis=1) for values in self.draws])


@dataclass(frozen=True)
class LabelModel:
    """A fitted measurement model of R raters.

    Attributes:
        names: the raters, length R.
        intercepts, slopes: a and b, shape (R,).
        psi: covariance of the person-level errors, shape (R, R), points squared.
        draw_sd: delta, shape (R,), 0 for a rater with one draw.
        labelled, unlabelled: (mean, standard deviation) of T in each group.
        gold_sd: the known error of a gold total, points.
        labelled_people, unlabelled_people: how many the fit rests on.
        log_likelihood: at the maximum.
    """

    names: tuple[str, ...]
    intercepts: Array
    slopes: Array
    psi: Array
    draw_sd: Array
    labelled: tuple[float, float]
    unlabelled: tuple[float, float]
    gold_sd: float
    labelled_people: int
    unlabelled_people: int
    log_likelihood: float

    @property
    def correlations(self) -> Array:
        """Correlations of the raters' person-level errors, shape (R, R)."""
        scale = np.sqrt(np.diag(self.psi))
        correlations: Array = self.psi / np.outer(scale, scale)
        return correlations

    def summary(self) -> dict[str, Any]:
        """The parameters as plain JSON values."""
        raters = {
            name: {
                "intercept": float(self.intercepts[r]),
                "slope": float(self.slopes[r]),
                "person_error_sd": float(np.sqrt(self.psi[r, r])),
                "draw_error_sd": float(self.draw_sd[r]),
                "bias_at_10": float(self.intercepts[r] + (self.slopes[r] - 1) * 10),
            }
            for r, name in enumerate(self.names)
        }
        return {
            "raters": raters,
            "error_correlations": self.correlations.tolist(),
            "labelled": {"mean": self.labelled[0], "sd": self.labelled[1]},
            "unlabelled": {"mean": self.unlabelled[0], "sd": self.unlabelled[1]},
            "gold_sd": self.gold_sd,
            "people": {"labelled": self.labelled_people, "unlabelled": self.unlabelled_people},
            "log_likelihood": self.log_likelihood,
        }


@dataclass(frozen=True)
class Posterior:
    """What is believed of T for N readings.

    Attributes:
        mean: posterior mean, clipped to 0..27, shape (N,).
        sd: posterior standard deviation, points.
        weight: precision relative to a gold label's, at most 1.
        unbiased: Bartlett score, which is not shrunken to the group's mean; NaN without any
            rater.
        unbiased_sd: its standard error.
    """

    mean: Array
    sd: Array
    weight: Array
    unbiased: Array
    unbiased_sd: Array


def fit(observed: Observations, *, gold_sd: float = GOLD_SD) -> LabelModel:
    """Maximum-likelihood fit; see the module's text for model, estimator and sources.

    Args:
        observed: labelled people (never locked ones) and, if there are any, unlabelled ones.
            The student's column must be out-of-fold for the labelled.
        gold_sd: standard error of measurement of a gold total.

    Raises:
        LeadlineError: too few labelled people with a rater, no spread, or no convergence.
    """
    labelled = np.isfinite(observed.gold)
    _check(observed, labelled, gold_sd)
    draw_var = np.array([_within_variance(values) for values in observed.draws])
    groups = _patterns(observed, labelled, draw_var)
    raters = len(observed.names)
    start = _start(observed, labelled, gold_sd)
    bounds = _bounds(raters)
    optimum = minimize(
        _negative_log_likelihood,
        np.clip(start, *np.array(bounds).T),
        args=(groups, raters, gold_sd**2),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "maxfun": 200_000, "ftol": 1e-13, "gtol": 1e-8},
    )
    if not np.isfinite(optimum.fun):
        raise LeadlineError(
            "The label model did not converge.",
            remedy="Check the labels' audit; leave out a teacher whose ratings do not vary.",
        )
    a, b, chol, (mu_l, log_l), (mu_u, log_u) = _unpack(optimum.x, raters)
    if labelled.all():
        mu_u, log_u = mu_l, log_l
    return LabelModel(
        names=observed.names,
        intercepts=a,
        slopes=b,
        psi=chol @ chol.T,
        draw_sd=np.sqrt(draw_var),
        labelled=(float(mu_l), float(np.exp(log_l))),
        unlabelled=(float(mu_u), float(np.exp(log_u))),
        gold_sd=gold_sd,
        labelled_people=int(labelled.sum()),
        unlabelled_people=int((~labelled).sum()),
        log_likelihood=-float(optimum.fun) * sum(pattern.count for pattern in groups),
    )


def posterior(
    model: LabelModel,
    observed: Observations,
    *,
    use_gold: bool = False,
    group: str | None = None,
) -> Posterior:
    """Posterior of T for each reading.

    Args:
        model: fitted, on raters of the same names in the same order.
        observed: readings.
        use_gold: whether gold totals count as observations of T. Off, a labelled person gets
            what an unlabelled one with the same ratings would, up to the group.
        group: whose distribution of T to start from, ``labelled`` or ``unlabelled``. None:
            each reading's own, by whether it has gold.
    """
    if observed.names != model.names:
        raise ValueError(f"the model knows {model.names}, not {observed.names}")
    count = len(observed.gold)
    labelled = np.isfinite(observed.gold)
    from_labelled = labelled if group is None else np.full(count, group == "labelled")
    prior_mean = np.where(from_labelled, model.labelled[0], model.unlabelled[0])
    prior_var = np.where(from_labelled, model.labelled[1], model.unlabelled[1]) ** 2
    precision, signal = 1 / prior_var, prior_mean / prior_var
    bartlett, bartlett_sd = np.full(count, np.nan), np.full(count, np.nan)
    for rows, present, draws in _row_patterns(observed):
        if not present.any():
            continue
        weights, information = _scores(model, present, draws)
        centred = observed.means[np.ix_(rows, present)] - model.intercepts[present]
        signal[rows] += centred @ weights
        precision[rows] += information
        if information > 0:
            bartlett[rows] = centred @ weights / information
            bartlett_sd[rows] = information**-0.5
    if use_gold:
        signal += np.where(labelled, observed.gold, 0.0) / model.gold_sd**2
        precision += labelled / model.gold_sd**2
    return Posterior(
        mean=np.clip(signal / precision, 0.0, TOP),
        sd=precision**-0.5,
        weight=np.minimum(1.0, precision * model.gold_sd**2),
        unbiased=bartlett,
        unbiased_sd=bartlett_sd,
    )


def fuse(
    model: LabelModel,
    student: Array,
    teachers: Sequence[Array],
    *,
    group: str = "unlabelled",
) -> tuple[Array, Array]:
    """Fuse the student with teacher draws at scoring time.

    Args:
        model: fitted with the teachers first and the student last.
        student: estimates, shape (N,).
        teachers: draws of each teacher, shape (N, draws), NaN where missing.
        group: whose distribution of T the scored people come from.

    Returns:
        Mean of T, and the standard deviation of a *gold total* about it (so that intervals
        cover what a questionnaire would say), each of shape (N,).
    """
    gold = np.full(len(student), np.nan)
    observed = Observations(gold, (*teachers, student.reshape(-1, 1)), model.names)
    posteriors = posterior(model, observed, group=group)
    return posteriors.mean, np.sqrt(posteriors.sd**2 + model.gold_sd**2)


# Likelihood


@dataclass(frozen=True)
class _Pattern:
    """People of one group with the same things observed: sufficient statistics."""

    gold: bool
    present: npt.NDArray[np.bool_]
    noise: Array  # variance of each present rater's mean that is due to draws
    count: int
    mean: Array
    scatter: Array  # about the mean, divided by count


def _patterns(
    observed: Observations, labelled: npt.NDArray[np.bool_], draw_var: Array
) -> list[_Pattern]:
    patterns = []
    means = observed.means
    for rows, present, draws in _row_patterns(observed):
        for gold in (True, False):
            members = rows[labelled[rows] == gold]
            if not len(members) or not (present.any() or gold):
                continue
            values = means[np.ix_(members, present)]
            if gold:
                values = np.column_stack([observed.gold[members], values])
            centre = values.mean(axis=0)
            scatter = (values - centre).T @ (values - centre) / len(members)
            noise = draw_var[present] / draws[present]
            patterns.append(_Pattern(gold, present, noise, len(members), centre, scatter))
    return patterns


def _row_patterns(
    observed: Observations,
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]]:
    """(rows, raters present, their draw counts) for each pattern of draw counts."""
    patterns, which = np.unique(observed.counts, axis=0, return_inverse=True)
    which = which.reshape(-1)
    return [(np.flatnonzero(which == k), draws > 0, draws) for k, draws in enumerate(patterns)]


def _negative_log_likelihood(
    theta: Array, patterns: list[_Pattern], raters: int, gold_var: float
) -> tuple[float, Array]:
    """Value per person and its exact gradient in `theta`."""
    a, b, chol, in_labelled, in_unlabelled = _unpack(theta, raters)
    psi = chol @ chol.T
    total = 0.0
    d_a, d_b, d_psi, d_groups = np.zeros(raters), np.zeros(raters), np.zeros_like(psi), np.zeros(4)
    for pattern in patterns:
        mu, log_tau = in_labelled if pattern.gold else in_unlabelled
        keep, first = pattern.present, int(pattern.gold)
        loads, offset = np.r_[[1.0] * first, b[keep]], np.r_[[0.0] * first, a[keep]]
        tau_var = float(np.exp(2 * log_tau))
        cov = tau_var * np.outer(loads, loads)
        cov[first:, first:] += psi[np.ix_(keep, keep)] + np.diag(pattern.noise)
        if pattern.gold:
            cov[0, 0] += gold_var
        gap = pattern.mean - offset - loads * mu
        sign, logdet = np.linalg.slogdet(cov)
        if sign <= 0:
            return 1e12, np.zeros_like(theta)
        inverse = np.linalg.inv(cov)
        spread = pattern.scatter + np.outer(gap, gap)
        size = len(gap) * np.log(2 * np.pi)
        total += 0.5 * pattern.count * (size + logdet + float((inverse * spread).sum()))
        # Derivatives in the covariance, and in the gap between mean and expectation.
        by_cov = 0.5 * pattern.count * (inverse - inverse @ spread @ inverse)
        by_gap = pattern.count * (inverse @ gap)
        pull = by_cov @ loads
        d_a[keep] -= by_gap[first:]
        d_b[keep] += (2 * tau_var * pull - mu * by_gap)[first:]
        d_psi[np.ix_(keep, keep)] += by_cov[first:, first:]
        at = 0 if pattern.gold else 2
        d_groups[at] -= loads @ by_gap
        d_groups[at + 1] += 2 * tau_var * (loads @ pull)
    d_chol = 2 * d_psi @ chol
    d_chol[np.diag_indices(raters)] *= np.diag(chol)
    gradient = np.concatenate([d_a, d_b, d_chol[np.tril_indices(raters)], d_groups])
    # Per person, so that the optimiser's tolerances mean the same at any number of people.
    people = sum(pattern.count for pattern in patterns)
    return total / people, gradient / people


def _unpack(
    theta: Array, raters: int
) -> tuple[Array, Array, Array, tuple[float, float], tuple[float, float]]:
    """Intercepts, slopes, Cholesky factor of Psi, and (mean, log sd) of T in each group."""
    a, b, rest = theta[:raters], theta[raters : 2 * raters], theta[2 * raters :]
    size = raters * (raters + 1) // 2
    chol = np.zeros((raters, raters))
    chol[np.tril_indices(raters)] = rest[:size]
    chol[np.diag_indices(raters)] = np.exp(np.diag(chol))
    mu_l, log_l, mu_u, log_u = rest[size:]
    return a, b, chol, (mu_l, log_l), (mu_u, log_u)


def _start(observed: Observations, labelled: npt.NDArray[np.bool_], gold_sd: float) -> Array:
    """Moment estimates from the labelled people; raters' errors start uncorrelated."""
    gold = observed.gold[labelled]
    true_var = max(gold.var() - gold_sd**2, 0.2 * gold.var())
    a, b, spread = [], [], []
    for values in observed.means[labelled].T:
        both = np.isfinite(values)
        slope = np.cov(gold[both], values[both])[0, 1] / true_var
        rest = values[both].var() - slope**2 * true_var
        b.append(slope)
        a.append(values[both].mean() - slope * gold[both].mean())
        spread.append(0.5 * np.log(max(rest, 0.1 * values[both].var(), 1e-2)))
    raters = len(observed.names)
    chol = np.zeros((raters, raters))
    chol[np.diag_indices(raters)] = spread
    group = [gold.mean(), 0.5 * np.log(true_var)] * 2
    return np.concatenate([a, b, chol[np.tril_indices(raters)], group])


def _bounds(raters: int) -> list[tuple[float, float]]:
    low, high = np.log(SMALLEST), np.log(4 * TOP)
    chol = np.full((raters, raters), -4 * TOP), np.full((raters, raters), 4 * TOP)
    for matrix, edge in zip(chol, (low, high), strict=True):
        matrix[np.diag_indices(raters)] = edge
    lower = np.tril_indices(raters)
    inner = list(zip(chol[0][lower], chol[1][lower], strict=True))
    group = [(-TOP, 2 * TOP), (np.log(0.1), np.log(2 * TOP))]
    return [(-10 * TOP, 10 * TOP)] * raters + [(-20.0, 20.0)] * raters + inner + group * 2


def _scores(
    model: LabelModel, present: npt.NDArray[np.bool_], draws: npt.NDArray[np.int64]
) -> tuple[Array, float]:
    """Weights Sigma^-1 b and information b' Sigma^-1 b of the raters present."""
    noise = model.draw_sd[present] ** 2 / draws[present]
    errors = model.psi[np.ix_(present, present)] + np.diag(noise)
    slopes = model.slopes[present]
    weights: Array = np.linalg.solve(errors, slopes).astype(np.float64)
    return weights, float(slopes @ weights)


def _row_mean(values: Array) -> Array:
    is_rated = np.isfinite(values)
    count = is_rated.sum(axis=1)
    total = np.where(is_rated, values, 0.0).sum(axis=1)
    means: Array = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return means


def _within_variance(values: Array) -> float:
    """Pooled variance of draws about their person's mean; 0 where nobody has two."""
    is_rated = np.isfinite(values)
    degrees = int(np.maximum(is_rated.sum(axis=1) - 1, 0).sum())
    if degrees == 0:
        return 0.0
    gaps = np.where(is_rated, values - _row_mean(values)[:, None], 0.0)
    return float((gaps**2).sum() / degrees)


def _check(observed: Observations, labelled: npt.NDArray[np.bool_], gold_sd: float) -> None:
    rated = np.isfinite(observed.means[labelled])
    sparse_raters = [
        name for name, n in zip(observed.names, rated.sum(axis=0), strict=True) if n < MIN_LABELLED
    ]
    if sparse_raters:
        raise LeadlineError(
            f"Fewer than {MIN_LABELLED} labelled people were rated by: {', '.join(sparse_raters)}.",
            remedy="Rate more labelled people (--who all), or leave this rater out.",
        )
    spreads = np.nanstd(observed.means[labelled], axis=0)
    if (spreads < SMALLEST).any() or observed.gold[labelled].std() <= gold_sd:
        raise LeadlineError(
            "The gold totals, or one rater's ratings of labelled people, hardly vary.",
            remedy="A label model needs people across the range; check the labels' audit.",
        )
