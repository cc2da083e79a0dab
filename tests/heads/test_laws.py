"""Laws that every head keeps, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.cohort.windows import Span
from leadline.heads import network
from leadline.heads.calibration import Calibration
from leadline.heads.config import FROZEN_HEADS
from leadline.heads.design import Design, PersonStates
from leadline.heads.head import HEAD_CLASSES, fit_head, head_state
from leadline.heads.inputs import Inputs

VIEWS = ("a", "b")
WIDTHS = {"a": 6, "b": 3}
RANDOM = np.random.default_rng(4)
DIRECTIONS = {view: RANDOM.normal(size=(2, width)) for view, width in WIDTHS.items()}
HEADS = (*FROZEN_HEADS, "prior", "started")  # the last two come with a run of no or few labels
POOLED = [name for name in HEADS if name != "network"]  # those that are fitted exactly


def people_of(count: int, seed: int) -> tuple[list[PersonStates], np.ndarray]:
    """People of 2 to 6 turns whose states tell of their totals."""
    random = np.random.default_rng(seed)
    totals = random.integers(0, 28, count).astype(float)
    people = []
    for total in totals:
        turns = int(random.integers(2, 7))
        states = {
            view: random.normal((total - 13) / 8, 1.0, (turns, width)).astype(np.float32)
            for view, width in WIDTHS.items()
        }
        people.append(PersonStates(states, random.integers(1, 30, turns)))
    return people, totals


def inputs_of(people, spans):
    return Design.of(DIRECTIONS, people, spans, "mean").inputs(VIEWS, ("a",))


def whole(people):
    return [Span(row, 0, len(one.words) - 1) for row, one in enumerate(people)]


PEOPLE, TOTALS_OF = people_of(60, 0)
TRAIN = inputs_of(PEOPLE, whole(PEOPLE))
STRANGERS, _ = people_of(8, 1)
NEW = inputs_of(STRANGERS, whole(STRANGERS))

SPANS = st.lists(
    st.integers(0, len(STRANGERS) - 1).flatmap(
        lambda row: st.tuples(
            st.just(row),
            st.integers(0, len(STRANGERS[row].words) - 1),
            st.integers(0, len(STRANGERS[row].words) - 1),
        )
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [Span(row, min(a, b), max(a, b)) for row, a, b in rows])


FEW = settings(max_examples=25)


@pytest.fixture(scope="module", autouse=True)
def short_training():
    """Steps enough for a network to tell people apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "LEAST_STEPS", 60)
        patch.setattr(network, "EPOCHS", 1)
        yield


@pytest.fixture(scope="module", params=HEADS)
def head(request):
    return fit_head(request.param, TRAIN, TOTALS_OF, seed=2)


def assert_same(one, other, atol=1e-6):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol)


def test_every_head_that_can_be_asked_for_is_under_these_laws():
    assert set(HEAD_CLASSES) == {*HEADS, "lexical"}  # of words: tests/heads/test_lexical.py


# Estimates


@FEW
@given(spans=SPANS)
def test_an_estimate_does_not_depend_on_who_is_estimated_beside(head, spans):
    mean, sd = head.predict(inputs_of(STRANGERS, spans))
    assert mean.shape == sd.shape == (len(spans),)
    assert np.isfinite(mean).all()
    assert (sd > 0).all()
    for row, span in enumerate(spans):
        alone = head.predict(inputs_of(STRANGERS, [span]))
        assert_same((mean[row : row + 1], sd[row : row + 1]), alone)


@FEW
@given(spans=SPANS, order=st.permutations(range(len(STRANGERS))))
def test_an_estimate_does_not_depend_on_the_order_of_people(head, spans, order):
    place = {row: number for number, row in enumerate(order)}
    moved = [replace(span, person=place[span.person]) for span in spans]
    there = head.predict(inputs_of([STRANGERS[row] for row in order], moved))
    assert_same(head.predict(inputs_of(STRANGERS, spans)), there)


@FEW
@given(spans=SPANS, seed=st.integers(0, 99), more=st.integers(0, 3))
def test_an_estimate_looks_neither_ahead_nor_before_its_reading(head, spans, seed, more):
    """Other turns outside of the reading, and further ones after it, are not looked at."""
    random = np.random.default_rng(seed)
    for span in spans:
        person = STRANGERS[span.person]
        views = {}
        for view, states in person.views.items():
            after = random.normal(0, 5, (more, states.shape[1]))
            changed = np.concatenate([states, after]).astype(np.float32)
            outside = np.ones(len(changed), dtype=bool)
            outside[span.turns] = False
            changed[outside] = random.normal(0, 5, (int(outside.sum()), states.shape[1]))
            views[view] = changed
        words = np.concatenate([person.words, np.ones(more, dtype=np.int64)])
        other = inputs_of([PersonStates(views, words)], [replace(span, person=0)])
        assert_same(head.predict(inputs_of(STRANGERS, [span])), head.predict(other), atol=1e-5)


def test_a_reading_is_looked_at(head):
    """Else the laws above would hold of a constant."""
    mean, _ = head.predict(NEW)
    assert np.std(mean) > 1
    longer, shorter = (inputs_of(STRANGERS, [Span(0, 0, last)]) for last in (1, 0))
    assert abs(head.predict(longer)[0] - head.predict(shorter)[0])[0] > 1e-3


def test_views_are_known_by_name_not_by_place(head):
    swapped = replace(NEW, states={view: NEW.states[view] for view in reversed(VIEWS)})
    assert_same(head.predict(NEW), head.predict(swapped), atol=1e-12)


def test_nobody_to_estimate_is_no_error(head):
    assert [len(part) for part in head.predict(NEW.take(np.array([], dtype=np.int64)))] == [0, 0]


# Fitting


def test_a_seed_fits_the_same_head_again(head):
    plain, tensors = head_state(head)
    again, same = head_state(fit_head(plain["head"], TRAIN, TOTALS_OF, seed=2))
    assert plain == again
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, same[name])


@pytest.fixture(scope="module", params=POOLED)
def fitted(request):
    return request.param, fit_head(request.param, TRAIN, TOTALS_OF)


LOOSE = {"gp": 1e-3, "ridge": 1e-7, "histogram": 5e-3, "prior": 1e-6, "started": 1e-6}
"""Points by which two searches for the same optimum may end apart."""


@settings(max_examples=3)
@given(st.permutations(range(len(TOTALS_OF))))
def test_the_order_of_the_rows_does_not_matter(fitted, order):
    """A network meets its readings in batches, so it promises nothing of the kind."""
    name, head = fitted
    rows = np.array(order)
    other = fit_head(name, TRAIN.take(rows), TOTALS_OF[rows])
    for one, again in zip(head.predict(NEW), other.predict(NEW), strict=True):
        np.testing.assert_allclose(again, one, atol=LOOSE[name])


@settings(max_examples=3)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_units_and_origins_of_the_columns_do_not_matter(fitted, factor, shift):
    """Columns are standardised by the training rows, so a reader's scale says nothing."""
    name, head = fitted

    def moved(inputs):
        states = {view: factor * x + shift for view, x in inputs.states.items()}
        return Inputs(states, inputs.anchors - shift)

    other = fit_head(name, moved(TRAIN), TOTALS_OF)
    for one, again in zip(head.predict(NEW), other.predict(moved(NEW)), strict=True):
        np.testing.assert_allclose(again, one, atol=LOOSE[name])


@pytest.mark.parametrize("name", HEADS)
def test_who_a_training_person_is_does_not_matter(name):
    """Rows of people are numbers only: other numbers for the same readings change nothing."""
    row = np.random.default_rng(7).permutation(len(PEOPLE))
    moved = [PEOPLE[at] for at in np.argsort(row)]
    spans = [replace(span, person=int(row[span.person])) for span in whole(PEOPLE)]
    one = fit_head(name, TRAIN, TOTALS_OF).predict(NEW)
    other = fit_head(name, inputs_of(moved, spans), TOTALS_OF).predict(NEW)
    assert_same(one, other, atol=0.02)


@pytest.mark.parametrize("name", HEADS)
def test_a_total_without_weight_is_not_believed(name):
    weight = np.where(np.arange(len(TOTALS_OF)) < 15, 1e-9, 1.0)
    lies = np.where(weight < 1, 27 - TOTALS_OF, TOTALS_OF)
    one = fit_head(name, TRAIN, TOTALS_OF, weight).predict(NEW)
    assert_same(one, fit_head(name, TRAIN, lies, weight).predict(NEW), atol=0.02)
    believed = fit_head(name, TRAIN, lies).predict(NEW)
    assert np.abs(believed[0] - one[0]).max() > 0.1


@pytest.mark.parametrize("name", HEADS)
def test_hyperparameters_of_an_earlier_fit_are_kept_by_a_head_that_has_some(name):
    scales = np.linspace(-1, 0, 7)
    fitted = fit_head(name, TRAIN, TOTALS_OF, seed=2, log_scales=scales)
    if name == "gp":
        np.testing.assert_array_equal(fitted.log_scales, scales)
    else:
        own_choice = fit_head(name, TRAIN, TOTALS_OF, seed=2)
        assert_same(fitted.predict(NEW), own_choice.predict(NEW))


# Numbers


@st.composite
def wild_people(draw):
    """People with states of any size that single precision holds, and any number of words."""
    people = []
    for _ in range(draw(st.integers(1, 3))):
        turns = draw(st.integers(1, 5))
        random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        sizes = draw(st.lists(st.sampled_from(SIZES), min_size=turns, max_size=turns))
        states = {
            view: (random.normal(size=(turns, width)) * np.array(sizes)[:, None]).astype(np.float32)
            for view, width in WIDTHS.items()
        }
        words = draw(st.lists(st.sampled_from([0, 1, 10**6]), min_size=turns, max_size=turns))
        people.append(PersonStates(states, np.array(words)))
    return people


SIZES = (0.0, 1e-40, 1e-3, 1.0, 1e4, 1e15, 1e37)

POOLS = ("mean", "words", "last")


@settings(max_examples=60)
@given(people=wild_people(), pool=st.sampled_from(POOLS), first=st.integers(0, 4))
def test_an_estimate_is_finite_whatever_the_states_are(head, people, pool, first):
    spans = [Span(row, min(first, len(one.words) - 1), len(one.words) - 1)
             for row, one in enumerate(people)]  # fmt: skip
    design = Design.of(DIRECTIONS, people, spans, pool)
    mean, sd = head.predict(design.inputs(VIEWS, ("a",)))
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()
    assert (sd > 0).all()
    calibration = Calibration(10.0, 0.8, 30.0, 1.1, 5.0)
    totals = calibration.distribution(mean, sd, design.words)
    np.testing.assert_allclose(totals.probabilities.sum(axis=1), 1.0)
    for numbers in (totals.mean(), totals.median(), *totals.delivered_interval(0.9)):
        assert ((numbers >= 0) & (numbers <= 27)).all()
