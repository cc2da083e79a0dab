"""Whom to ask: the value of an answer, the random share, the reason in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench.accuracy import course as bench

from leadline.errors import LeadlineError
from leadline.monitor.asks import (
    AskRule,
    answer_value,
    ask_chances,
    ask_reason,
    ask_value,
    choose_asks,
)
from leadline.monitor.statespace import CourseParameters

RULE = AskRule()


def test_the_value_is_what_a_simulated_answer_saves() -> None:
    rng = np.random.default_rng(0)
    for mean, variance, cut in ((9.0, 9.0, 10.0), (12.5, 6.0, 10.0), (10.0, 4.0, 10.0)):
        severity = mean + np.sqrt(variance) * rng.normal(size=400_000)
        answer = severity + RULE.sem * rng.normal(size=len(severity))
        after = mean + variance / (variance + RULE.sem**2) * (answer - mean)
        loss = [np.abs(severity - cut) * ((said >= cut) != (severity >= cut))
                for said in (np.full_like(after, mean), after)]  # fmt: skip
        value = answer_value(np.array([mean]), np.array([variance]), cut)[0]
        assert value == pytest.approx((loss[0] - loss[1]).mean(), abs=0.015)


def test_far_from_every_cut_an_answer_decides_nothing() -> None:
    value = ask_value(np.array([10.0, 24.0]), np.array([6.0, 12.0]), np.zeros(2), RULE)
    assert value[0] > 0.5
    assert value[1] < 1e-3
    assert (answer_value(np.array([10.0]), np.array([0.0]), 10) == 0).all()


def test_cooldown_floor_and_probability_of_answering() -> None:
    rule = replace(RULE, random_share=0.0)
    value = np.array([9.0, 5.0, 4.0, 3.0, 0.0])
    days = np.array([13.9, 20.0, np.inf, 30.0, 91.0])
    assert choose_asks(value, days, 2, rule, 0).people.tolist() == [4, 1]
    answers = np.array([1.0, 0.1, 1.0, 1.0, 1.0])
    assert choose_asks(value, days, 2, rule, 0, answers).people.tolist() == [4, 2]
    assert len(choose_asks(value, days, 99, rule, 0).people) == 4


def test_the_random_share_is_drawn_with_the_chance_that_is_kept() -> None:
    rule = replace(RULE, random_share=0.4)
    value, days = np.arange(12.0)[::-1], np.full(12, np.inf)
    times, chance = np.zeros(12), np.zeros(12)
    for seed in range(4000):
        asks = choose_asks(value, days, 5, rule, seed)
        assert len(np.unique(asks.people)) == 5
        assert asks.at_random.sum() == 2
        times[asks.people] += 1
        chance[asks.people] = asks.propensity
    np.testing.assert_allclose(times / 4000, chance, atol=0.03)
    assert chance.sum() == pytest.approx(5)


def test_chances_without_a_draw_and_of_one_person() -> None:
    assert ask_chances(np.arange(3), 3, 2, 0).tolist() == [1, 1, 0]
    assert ask_chances(np.array([0]), 1, 1, 1).tolist() == [1]
    assert len(choose_asks(np.zeros(2), np.zeros(2), 3, RULE, 0).people) == 0


def test_a_reason_names_the_figures() -> None:
    words = ask_reason(9.8, (5, 15), 10, answered=True, at_random=False)
    assert words == (
        "Estimate 9.8, 90% 5 to 15: an answer would most likely decide whether 10 is reached"
    )
    assert "set this person's offset" in ask_reason(9, (5, 15), 10, answered=False, at_random=False)
    assert "decide" not in ask_reason(22, (17, 27), 10, answered=True, at_random=False)
    assert "random" in ask_reason(9, (5, 15), 10, answered=False, at_random=True)


@pytest.mark.parametrize("wrong", [{"cuts": ()}, {"weights": (1.0, 2.0)}, {"random_share": 1.1},
                                   {"cooldown": 100.0}])  # fmt: skip
def test_a_rule_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LeadlineError):
        replace(RULE, **wrong)


def test_asking_by_value_saves_most() -> None:
    """The mean of three populations of 600: by value, by width, by longest not asked, at random."""
    parameters = CourseParameters(level_sd=6.2, path_sd=3.9, lasting_share=0.3, sem=2.3,
                                  widening=0.0)  # fmt: skip
    estimator = bench.StandIn(bench.simulate(800, 10.5, 0.0, 1))
    savings = []
    for seed in (5, 6, 7):
        people = bench.simulate(600, 10.5, 0.0, seed)
        histories = [estimator.history(person) for person in people]
        savings.append(bench.ask_saving(people, histories, parameters, seed))
    saved = {rule: sum(saving[rule] for saving in savings) for rule in savings[0]}
    share = {rule: points / saved["everybody"] for rule, points in saved.items()}
    assert share["value"] >= 0.4
    others = ("width", "longest not asked", "highest", "random")
    assert share["value"] >= 2 * max(share[rule] for rule in others)
    assert share["expected"] == pytest.approx(1, rel=1 / 3)
