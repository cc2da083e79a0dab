"""Parameters of the course by maximum likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leadline.monitor.course import DatedAnswer, DatedEstimate, History, stack_histories
from leadline.monitor.fit import (
    ENOUGH_PEOPLE,
    answer_log_likelihood,
    fit_parameters,
    fit_widening,
)
from leadline.monitor.statespace import CourseParameters, SeverityObservations, filter_states

TRUE = CourseParameters(mean=8.0, level_sd=4.0, path_sd=3.0, path_days=20.0, lasting_share=0.5)


def drawn(people: int, seed: int = 0) -> list[History]:
    """People drawn from the model itself: the state moves, and is observed."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(people):
        days = np.unique(np.concatenate([np.arange(0, 180, 6.0), rng.uniform(0, 180, 6)]))
        start, spread = TRUE.start()
        state = start + np.sqrt(np.diag(spread)) * rng.normal(size=4)
        factor, noise = TRUE.transition(np.diff(days, prepend=days[0]))
        estimates, answers = [], []
        for at, day in enumerate(days):
            state = factor[at] * state + np.sqrt(noise[at]) * rng.normal(size=4)
            if day % 6:
                answers.append(DatedAnswer(day, state[0] + state[1] + TRUE.sem * rng.normal()))
            else:
                shift, design, own = TRUE.estimate_equation(np.zeros(1), np.array([15.0]))
                mean = design[0] @ state - shift[0] + np.sqrt(own[0]) * rng.normal()
                estimates.append(DatedEstimate(day, float(mean), 15.0))
        out.append(History(tuple(estimates), tuple(answers)))
    return out


def test_too_few_people_keep_the_defaults_and_say_so() -> None:
    fitted = fit_parameters(drawn(ENOUGH_PEOPLE - 1))
    assert fitted == CourseParameters()
    assert not fitted.fitted


def test_one_phq9_a_person_is_not_several() -> None:
    single = [replace(person, answers=person.answers[:1]) for person in drawn(60)]
    assert not fit_parameters(single).fitted


def test_a_fit_finds_the_parameters_that_people_were_drawn_with() -> None:
    fitted = fit_parameters(drawn(250))
    assert fitted.people == 250
    assert fitted.mean == pytest.approx(TRUE.mean, abs=0.8)
    assert fitted.level_sd == pytest.approx(TRUE.level_sd, abs=0.8)
    assert fitted.path_sd == pytest.approx(TRUE.path_sd, abs=0.8)
    assert fitted.lasting_share == pytest.approx(TRUE.lasting_share, abs=0.15)
    assert fitted.sem == pytest.approx(TRUE.sem, abs=0.4)


def test_the_likelihood_of_phq9s_is_that_of_their_chain() -> None:
    """Of PHQ-9s alone it is the joint density of a normal with the kernel of the model."""
    person = History((), (DatedAnswer(0.0, 9.0), DatedAnswer(11.0, 4.0), DatedAnswer(50.0, 15.0)))
    days, totals = np.array([0.0, 11.0, 50.0]), np.array([9.0, 4.0, 15.0]) - TRUE.mean
    gap = np.abs(days[:, None] - days)
    covariance = TRUE.level_sd**2 + TRUE.path_sd**2 * np.exp(-gap / TRUE.path_days)
    covariance += TRUE.sem**2 * np.eye(3)
    exact = -0.5 * (
        totals @ np.linalg.solve(covariance, totals)
        + np.linalg.slogdet(covariance)[1]
        + 3 * np.log(2 * np.pi)
    )
    assert answer_log_likelihood([person], TRUE) == pytest.approx(exact, abs=1e-9)


def test_estimates_are_not_counted_in_the_likelihood() -> None:
    person = drawn(1)[0]
    bare = replace(person, answers=())
    assert answer_log_likelihood([bare], TRUE) == 0
    table: SeverityObservations = stack_histories([person], TRUE, [np.empty(0)])
    forward = filter_states(table, TRUE)
    assert np.isfinite(forward.innovation_variance).sum() == len(person.estimates) + len(
        person.answers
    )


def answering(factor_at, seed: int = 1, people: int = 600) -> list[History]:
    """People with an estimate and a PHQ-9 that lies further out than the model says."""
    rng = np.random.default_rng(seed)
    estimates = [DatedEstimate(1.0, float(mean), 12.0) for mean in rng.uniform(0, 22, people)]
    texts = [History((estimate,), (DatedAnswer(2.0, 0.0),)) for estimate in estimates]
    observations = stack_histories(texts, TRUE, [np.empty(0)] * people)
    forward = filter_states(observations, TRUE)
    mean = forward.predicted_mean[:, -1, :2].sum(axis=1)
    spread = np.sqrt(forward.innovation_variance[:, -1])
    totals = mean + factor_at(mean) * spread * rng.normal(size=people)
    return [
        History((estimate,), (DatedAnswer(2.0, float(total)),))
        for estimate, total in zip(estimates, totals, strict=True)
    ]


@pytest.mark.parametrize(
    ("factor_at", "widening", "slope"),
    [
        (lambda mean: np.exp(0.3 + 0.0 * mean), 0.3, 0.0),
        (lambda mean: np.exp(0.1 + 0.4 * (mean - TRUE.mean) / 10), 0.1, 0.4),
        (lambda mean: np.exp(0.0 * mean), 0.0, 0.0),
    ],
)
def test_the_widening_is_that_by_which_answers_lie_further_out(factor_at, widening, slope) -> None:
    fitted = fit_widening(answering(factor_at), TRUE)
    assert fitted.widening == pytest.approx(widening, abs=0.07)
    assert fitted.widening_slope == pytest.approx(slope, abs=0.12)
    assert fitted.mean == TRUE.mean


def test_few_answers_leave_the_widening_near_what_was_thought_before() -> None:
    fitted = fit_widening(answering(lambda mean: np.exp(0.9 + 0.0 * mean), people=3), TRUE)
    assert 0.1 <= fitted.widening < 0.4
