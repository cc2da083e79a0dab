"""Estimators on frozen states: chosen, fitted and calibrated inside the training people.

A *candidate* is a head and how it sees the views: all joined, or one head a view with the
estimates averaged. `fit_frozen` compares the candidates by cross-validation inside the people
that it is given, fits the calibration on the same cross-validated estimates, and fits the
winner on all of them. Nobody outside has any part in either, so an outer fold that is left out
stays unseen in every respect.

Where words and characters of turns are counted, a ridge on them (`lexical`) stands beside the
winner, unless that starts from a prior: tens of labels teach no words. The two are averaged with
the weight that the same cross-validated estimates ask for (stacked regression, Breiman 1996),
drawn towards `USUAL_WEIGHT`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from leadline.arrays import Array, Ints
from leadline.heads.calibration import Calibration, fit_calibration
from leadline.heads.design import Design
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.head import Head, fit_head
from leadline.heads.lexical import LexicalRidge
from leadline.heads.prior import AnchorPrior, StartedProcess
from leadline.phq9.distribution import Totals
from leadline.threads import one_thread

PEOPLE_FOR_SELECTION = 600
"""People among whom candidates are compared; more settle nothing and cost a lot. A network is
calibrated on everyone: how far it shrinks depends on how many people it was fitted to."""


USUAL_WEIGHT, WEIGHT_SPREAD = 0.5, 0.35
"""What the weight of words and characters is before anything is seen of these people: mean and
deviation. With so wide a prior it goes to 0 or 1 where one member tells all that the other does."""


@dataclass(frozen=True)
class Candidate:
    """A head, whether each view gets one of its own, and whether it sees anchor scores.

    `lexical` is the weight of the ridge on words and characters beside it, 0 to 1; `start` what the
    head ``started`` begins with.
    """

    head: str
    per_view: bool
    with_anchors: bool = True
    lexical: float = 0.0
    start: AnchorPrior | None = None

    @property
    def name(self) -> str:
        """Such as ``gp, one a view, anchored``."""
        layout = "one a view" if self.per_view else "views joined"
        return f"{self.head}, {layout}{', anchored' if self.with_anchors else ''}"


CANDIDATES = (
    Candidate("gp", per_view=True),
    Candidate("gp", per_view=False),
    Candidate("ridge", per_view=False),
    Candidate("histogram", per_view=False),
)
"""What `--fit auto` compares."""

NETWORK = Candidate("network", per_view=False, with_anchors=False)


@dataclass(frozen=True)
class LabelledReadings:
    """Labelled readings of every length, several of a label and of a person.

    Attributes:
        design: what a head sees of each reading.
        total: gold or pseudolabel total that the reading leads to, shape (R,).
        weight: relative precision of the label, shape (R,).
        person: number of the person, shape (R,).
        final: True where the reading is the whole window of its label, shape (R,).
        share: weight of the reading in the calibration, shape (R,); 1 for a whole window.
    """

    design: Design
    total: Array
    weight: Array
    person: Ints
    final: npt.NDArray[np.bool_]
    share: Array

    def take(self, rows: Ints) -> LabelledReadings:
        """The readings at `rows`."""
        return LabelledReadings(
            self.design.take(rows),
            self.total[rows],
            self.weight[rows],
            self.person[rows],
            self.final[rows],
            self.share[rows],
        )

    def join(self, addition: LabelledReadings) -> LabelledReadings:
        """These readings and then those of `addition`."""
        return LabelledReadings(
            self.design.join(addition.design),
            np.concatenate([self.total, addition.total]),
            np.concatenate([self.weight, addition.weight]),
            np.concatenate([self.person, addition.person]),
            np.concatenate([self.final, addition.final]),
            np.concatenate([self.share, addition.share]),
        )


@dataclass(frozen=True)
class FrozenModel:
    """A fitted candidate with its calibration."""

    candidate: Candidate
    parts: tuple[tuple[tuple[str, ...], Head], ...]  # the views that each head sees; of words none
    calibration: Calibration

    def raw(self, design: Design) -> tuple[Array, Array]:
        """Mean and deviation before calibration, each (R,)."""
        return average_over_views(self.parts, self.candidate, design)

    def distribution(self, design: Design) -> Totals:
        """Calibrated distributions of the total, R of them."""
        mean, sd = self.raw(design)
        return self.calibration.distribution(mean, sd, design.words)


ViewHeads = tuple[tuple[tuple[str, ...], Head], ...]


def fit_heads(
    candidate: Candidate,
    rows: LabelledReadings,
    seed: int,
    *,
    scales: Sequence[Array] | None = None,
) -> ViewHeads:
    """Fit the heads of a candidate to the whole-window readings of `rows`.

    `scales`: hyperparameters kept from an earlier fit, as `head_hyperparameters` gives them.
    """
    final_rows = rows.take(np.flatnonzero(rows.final))
    views = tuple(final_rows.design.states)
    groups = [(view,) for view in views] if candidate.per_view else [views]
    if candidate.start is not None:
        inputs = final_rows.design.inputs(views, views)
        labels = final_rows.total, final_rows.weight
        return _with_lexical(
            ((views, StartedProcess.start(candidate.start, inputs, *labels)),),
            candidate, final_rows, seed,
        )  # fmt: skip
    parts: ViewHeads = tuple(
        (
            group,
            fit_head(
                candidate.head,
                final_rows.design.inputs(group, group if candidate.with_anchors else ()),
                final_rows.total,
                final_rows.weight,
                seed=seed,
                log_scales=None if scales is None else scales[number],
            ),
        )
        for number, group in enumerate(groups)
    )
    return _with_lexical(parts, candidate, final_rows, seed)


def _with_lexical(
    parts: ViewHeads, candidate: Candidate, rows: LabelledReadings, seed: int
) -> ViewHeads:
    """The heads, and beside them the ridge on words where the candidate gives it a weight."""
    if candidate.lexical == 0 or rows.design.terms is None:
        return parts
    return (*parts, ((), fit_lexical(rows, seed)))


def fit_lexical(rows: LabelledReadings, seed: int) -> Head:
    """Fit the ridge on words and characters to the whole-window readings of `rows`."""
    final_rows = rows.take(np.flatnonzero(rows.final))
    inputs = final_rows.design.inputs((), ())
    return fit_head("lexical", inputs, final_rows.total, final_rows.weight, seed=seed)


def head_hyperparameters(parts: ViewHeads) -> list[Array] | None:
    """Hyperparameters of each head of a fitted Gaussian process; None for other heads."""
    heads = [head for _, head in parts if not isinstance(head, LexicalRidge)]
    scales = [head.log_scales for head in heads if isinstance(head, GaussianProcess)]
    return scales if len(scales) == len(heads) else None


def average_over_views(
    parts: ViewHeads, candidate: Candidate, design: Design
) -> tuple[Array, Array]:
    """Mean and deviation of a candidate's heads, averaged over views, each (R,).

    Words and characters have the weight that the candidate gives them.
    """
    means, variances, lexical = [], [], None
    for views, head in parts:
        if isinstance(head, LexicalRidge):
            lexical = head.predict(design.inputs((), ()))
            continue
        mean, sd = head.predict(design.inputs(views, views if candidate.with_anchors else ()))
        means.append(mean)
        variances.append(sd**2)
    states = np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0))
    return states if lexical is None else mix(states, lexical, candidate.lexical)


def mix(
    states: tuple[Array, Array], lexical: tuple[Array, Array], weight: float
) -> tuple[Array, Array]:
    """Mean and deviation of two members, the second with `weight`, each (R,)."""
    mean, variance = (
        (1.0 - weight) * first + weight * second
        for first, second in ((states[0], lexical[0]), (states[1] ** 2, lexical[1] ** 2))
    )
    return mean, np.sqrt(variance)


def lexical_weight(
    states: Array, lexical: Array, total: Array, weight: Array | None = None
) -> float:
    """The weight of the second member that estimates of unseen people ask for, 0 to 1.

    It minimises the squared error of the average, with a normal prior (`USUAL_WEIGHT`,
    `WEIGHT_SPREAD`) and noise of the variance of the states' own error.

    Args:
        states: cross-validated estimates of whole-window readings by the first member, (R,).
        lexical: those of the second, (R,).
        total: their totals, shape (R,).
        weight: relative precision of each, shape (R,).
    """
    precision = np.ones(len(total)) if weight is None else weight
    error, apart = total - states, lexical - states
    prior = float(np.average(error**2, weights=precision)) / WEIGHT_SPREAD**2
    pull = float((precision * apart * error).sum()) + prior * USUAL_WEIGHT
    evidence = float((precision * apart**2).sum()) + prior
    if evidence == 0.0:  # both say the same and are right
        return USUAL_WEIGHT
    return float(np.clip(pull / evidence, 0.0, 1.0))


def cross_validated_estimates(
    candidate: Candidate, rows: LabelledReadings, folds: Ints, seed: int
) -> tuple[Array, Array]:
    """Cross-validated mean and deviation of every reading, each (R,).

    `folds` gives the fold of each reading, whole people together, shape (R,).
    """
    mean, sd = np.zeros(len(rows.total)), np.ones(len(rows.total))
    for fold in range(int(folds.max()) + 1):
        out = np.flatnonzero(folds == fold)
        parts = fit_heads(candidate, rows.take(np.flatnonzero(folds != fold)), seed)
        mean[out], sd[out] = average_over_views(parts, candidate, rows.design.take(out))
    return mean, sd


def _cross_validated_lexical(rows: LabelledReadings, folds: Ints, seed: int) -> tuple[Array, Array]:
    """`cross_validated_estimates` of the ridge on words and characters."""
    mean, sd = np.zeros(len(rows.total)), np.ones(len(rows.total))
    for fold in range(int(folds.max()) + 1):
        out = np.flatnonzero(folds == fold)
        head = fit_lexical(rows.take(np.flatnonzero(folds != fold)), seed)
        mean[out], sd[out] = head.predict(rows.design.take(out).inputs((), ()))
    return mean, sd


def fit_frozen(
    rows: LabelledReadings,
    candidates: Sequence[Candidate],
    *,
    inner_folds: int,
    seed: int,
    lexical: bool = True,
    progress: Callable[[str], None] | None = None,
) -> tuple[FrozenModel, list[dict[str, object]]]:
    """Choose among `candidates`, fit the winner, and calibrate it.

    Args:
        rows: readings of the training people only.
        candidates: what to compare; one is fitted without a comparison.
        inner_folds: folds, by person, of the comparison and the calibration.
        seed: of the inner folds.
        lexical: average the winner with a ridge on words and characters, where they are counted.
        progress: called with the name of each candidate that is tried.

    Returns:
        The fitted model, and one row per candidate with its inner CRPS and MAE, without words,
        and the weight that words have beside the winner.
    """
    with one_thread(int(rows.final.sum())):
        return _chosen_and_fitted(
            rows, candidates, (inner_folds, seed), lexical=lexical, progress=progress
        )


def _chosen_and_fitted(
    rows: LabelledReadings,
    candidates: Sequence[Candidate],
    draw: tuple[int, int],
    *,
    lexical: bool,
    progress: Callable[[str], None] | None,
) -> tuple[FrozenModel, list[dict[str, object]]]:
    """`fit_frozen` on as many threads as there are; `draw`: number of inner folds, and seed."""
    inner_folds, seed = draw
    subset = rows if NETWORK in candidates else _people_subset(rows, PEOPLE_FOR_SELECTION, seed)
    folds = _inner_folds(subset, inner_folds, seed)
    table: list[dict[str, object]] = []
    tried: list[Tried] = []
    for candidate in candidates:
        if progress is not None:
            progress(candidate.name)
        mean, sd = cross_validated_estimates(candidate, subset, folds, seed)
        gold = subset.final
        scores = Totals.normal(mean[gold], sd[gold]).crps(subset.total[gold])
        score = float(np.average(scores, weights=subset.weight[gold]))
        error = np.abs(np.clip(mean[gold], 0, 27) - subset.total[gold])
        mae = float(np.average(error, weights=subset.weight[gold]))
        table.append({"candidate": candidate.name, "crps": score, "mae": mae})
        tried.append(Tried(candidate, mean, sd, scores))
    best = chosen_candidate(tried, subset)
    chosen, mean, sd = best.candidate, best.mean, best.sd
    if lexical and subset.design.terms is not None and chosen.start is None:
        words = _cross_validated_lexical(subset, folds, seed)
        gold = subset.final
        weight = lexical_weight(mean[gold], words[0][gold], subset.total[gold], subset.weight[gold])
        table = [{**row, "lexical": weight} for row in table]
        chosen = replace(chosen, lexical=weight)
        mean, sd = mix((mean, sd), words, weight)
    calibration = fit_calibration(
        mean, sd, subset.design.words, subset.total, subset.share * subset.weight, subset.final
    )
    model = FrozenModel(chosen, fit_heads(chosen, rows, seed), calibration)
    return model, table


CLEARLY = 2.0
"""Standard errors by which another candidate has to be better than one that starts from a prior."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate with its cross-validated estimates (R,) and the CRPS of whole windows."""

    candidate: Candidate
    mean: Array
    sd: Array
    crps: Array


def chosen_candidate(tried: Sequence[Tried], rows: LabelledReadings) -> Tried:
    """The candidate of the lowest CRPS, the first of equal ones.

    One that starts from a prior stays unless another is better by more than `CLEARLY` standard
    errors of the difference over people (after the one-standard-error rule of Breiman et al. 1984,
    for several others): a few labels tell candidates apart by chance.

    Args:
        tried: at least one candidate, all on the same readings.
        rows: these readings.
    """
    weight, person = rows.weight[rows.final], rows.person[rows.final]
    best = min(tried, key=lambda trial: float(np.average(trial.crps, weights=weight)))
    start = next((trial for trial in tried if trial.candidate.start is not None), best)
    _, position = np.unique(person, return_inverse=True)
    gain = np.bincount(position, weight * (start.crps - best.crps))
    if gain.sum() <= CLEARLY * gain.std(ddof=min(1, len(gain) - 1)) * np.sqrt(len(gain)):
        return start
    return best


def _people_subset(rows: LabelledReadings, most: int, seed: int) -> LabelledReadings:
    people = np.unique(rows.person)
    if len(people) <= most:
        return rows
    sample = np.random.default_rng(seed).choice(people, size=most, replace=False)
    return rows.take(np.flatnonzero(np.isin(rows.person, sample)))


def _inner_folds(rows: LabelledReadings, count: int, seed: int) -> Ints:
    """Fold of each reading: people sorted by severity, dealt in shuffled rounds."""
    people, position = np.unique(rows.person, return_inverse=True)
    gold = rows.final.astype(np.float64)
    severity = np.bincount(position, rows.total * gold) / np.maximum(
        np.bincount(position, gold), 1.0
    )
    random = np.random.default_rng([seed, len(people)])
    order = np.lexsort((random.random(len(people)), severity))
    folds = np.empty(len(people), dtype=np.int64)
    for at in range(0, len(people), count):
        block = order[at : at + count]
        folds[block] = random.permutation(count)[: len(block)]
    return folds[position]
