"""Contributions add up, follow linear heads exactly, and do not depend on the order of turns."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.support import ROOT
from tests.support.cohorts import some_people

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.heads.design import PersonStates
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.train import train_run

sys.path.insert(0, str(ROOT / "bench"))

from path_contributions import Explainer


@pytest.fixture(scope="module", params=["gp", "ridge", "histogram"])
def ensemble(request, simulated, quick, home, tmp_path_factory):
    names = simulated.phq9["person_id"].unique().sort().to_list()[:16]
    config = replace(quick, fit=request.param, folds=2, baselines=False,
                     pool="words" if request.param == "gp" else "mean")  # fmt: skip
    out = tmp_path_factory.mktemp(request.param) / "run"
    train_run(some_people(simulated, set(names)), out, config, WindowConfig(), home=home)
    return load_ensemble(out, home=home)[0]


@pytest.fixture
def person(ensemble, simulated):
    timeline = replace(next(iter(timelines(simulated))), person_id="stranger")
    return timeline, ensemble.source.read([timeline])[0]


def mean(ensemble, person, span):
    return float(ensemble.distributions([person[0]], [person[1]], [span]).mean()[0])


def test_contributions_and_the_start_add_up_to_the_estimate(ensemble, person):
    last = len(person[1].words) - 1
    for span in (Span(0, 0, last), Span(0, 2, last), Span(0, last, last)):
        found = Explainer(ensemble)(person[1], span)
        assert len(found.points) == span.last - span.first + 1
        np.testing.assert_allclose(
            found.start + found.points.sum(), mean(ensemble, person, span), atol=1e-9
        )
        assert np.ptp(found.points) > 1e-4 or span.first == last


def test_few_steps_of_the_path_are_enough(ensemble, person):
    span = Span(0, 0, len(person[1].words) - 1)
    few, many = (Explainer(ensemble, steps)(person[1], span).points for steps in (16, 128))
    np.testing.assert_allclose(few, many, atol=2e-3)


def test_the_order_of_turns_does_not_matter(ensemble, person):
    states = person[1]
    span = Span(0, 0, len(states.words) - 1)
    turned = PersonStates({v: x[::-1].copy() for v, x in states.views.items()}, states.words[::-1])
    one, other = (Explainer(ensemble)(x, span).points for x in (states, turned))
    np.testing.assert_allclose(one, other[::-1], atol=1e-9)


def test_of_a_linear_head_they_are_coefficients_times_distance(ensemble, person):
    head = ensemble.members[0].model.parts[0][1]
    if not hasattr(head, "intercept"):
        pytest.skip("this head is not linear")
    single = replace(ensemble, members=ensemble.members[:1])
    states = person[1]
    span = Span(0, 0, len(states.words) - 1)
    (view,) = ensemble.source.views
    seen = np.concatenate(
        [states.views[view], states.views[view] @ ensemble.source.directions[view].T], axis=1
    )
    linear = head.scaler(seen) @ head.coefficients / len(states.words)
    points = Explainer(single)(states, span).points
    # Calibration scales and the bounds of 0 and 27 bend, alike for every turn.
    assert np.corrcoef(points, linear)[0, 1] > 0.9999


def test_a_last_turn_pool_gives_the_last_turn_everything(ensemble, person):
    span = Span(0, 0, len(person[1].words) - 1)
    points = Explainer(replace(ensemble, pool="last"))(person[1], span).points
    assert np.abs(points[:-1]).max() == 0
    assert abs(points[-1]) > 1e-4


def test_a_fine_tuned_run_is_refused(ensemble):
    adapted = AdaptedModel(None, ensemble.members[0].model.calibration, scalar=True)
    other = Ensemble((Member(0, 0, adapted),), {}, None, "mean")
    with pytest.raises(LeadlineError, match="fine-tuned"):
        Explainer(other)
