"""The torch form of heads, pools and calibrations gives what numpy gives, to the last digits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.inputs import NEW, X, Y

from leadline.cohort.timeline import Message, Timeline
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.export.graph import EnsembleGraph, MemberGraph, Standardise, graph_of
from leadline.heads.calibration import Calibration
from leadline.heads.candidates import Candidate, FrozenModel
from leadline.heads.design import PersonStates
from leadline.heads.head import fit_head
from leadline.heads.inputs import Inputs, Scaler, Turns
from leadline.heads.lexical import LexicalRidge
from leadline.heads.terms import count_terms
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member

CLOSED = ["gp", "ridge", "histogram"]
WIDTHS = {"a": 5, "b": 3}
DIRECTIONS = {
    view: np.random.default_rng(number).normal(size=(2, width))
    for number, (view, width) in enumerate(WIDTHS.items())
}
PLAIN = Calibration(centre=11.0, stretch=1.1, half_words=6.0, widen=0.9, few_words=4.0, shift=0.7)


def torched(x):
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))


@pytest.mark.parametrize("name", CLOSED)
def test_a_head_as_a_graph_gives_its_mean_and_variance(name):
    head = fit_head(name, X, Y)
    graph = graph_of(head, torch.float64)
    mean, sd = head.predict(NEW)
    for row in range(len(NEW)):
        states = torched(np.concatenate([x[row] for x in NEW.states.values()]))
        found = graph(states, torched(NEW.anchors[row]))
        np.testing.assert_allclose(float(found[0]), mean[row], rtol=1e-9)
        np.testing.assert_allclose(float(found[1]), sd[row] ** 2, rtol=1e-7)


def test_a_network_as_a_graph_gives_its_mean_and_variance():
    random = np.random.default_rng(2)
    people = tuple({"a": random.normal(size=(4, 6)).astype(np.float32)} for _ in range(40))
    spans = np.array([(person, 0, 3) for person in range(40)])
    whole = Inputs(
        {"a": np.stack([p["a"].mean(0) for p in people])}, np.zeros((40, 0)), Turns(people, spans)
    )
    total = np.clip(10 + 6 * whole.states["a"][:, 0], 0, 27)
    head = fit_head("network", whole, total)
    graph = graph_of(head, torch.float64)
    mean, sd = head.predict(whole)
    for row in range(5):
        found = graph(torched(people[row]["a"]), torch.zeros(0, dtype=torch.float64))
        assert float(found[0]) == pytest.approx(mean[row], abs=1e-7)
        assert float(found[1]) == pytest.approx(sd[row] ** 2, rel=1e-9)


def test_a_column_that_never_changed_is_nothing_in_both():
    scaler = Scaler.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    x = np.array([4.0, 99.0])
    assert Standardise(scaler)(torched(x)).tolist() == pytest.approx(scaler(x[None])[0].tolist())


@given(st.floats(-5, 35), st.floats(0.3, 9), st.floats(0, 500), st.integers(0, 5))
def test_a_calibration_as_a_graph_gives_its_distribution(mean, sd, words, seed):
    random = np.random.default_rng(seed)
    calibration = Calibration(
        centre=random.uniform(5, 20), stretch=random.uniform(0.5, 2),
        half_words=random.uniform(0, 20), widen=random.uniform(0.5, 2),
        few_words=random.uniform(0, 20), shift=random.normal(),
    )  # fmt: skip
    model = FrozenModel(Candidate("ridge", per_view=False), (), calibration)
    graph = MemberGraph(model, torch.float64)
    found = graph.distribution(torched(mean), torched(sd), torched(words))
    expected = calibration.distribution(np.array([mean]), np.array([sd]), np.array([words]))
    np.testing.assert_allclose(found.numpy(), expected.probabilities[0], atol=1e-12)
    assert float(found.sum()) == pytest.approx(1)


def person_states(turns, seed):
    random = np.random.default_rng(seed)
    views = {v: random.normal(size=(turns, w)).astype(np.float32) for v, w in WIDTHS.items()}
    return PersonStates(views, random.integers(0, 30, turns))


def fitted(candidate, seed):
    """A frozen model of the two views, fitted on made-up readings."""
    random = np.random.default_rng(seed)
    states = {view: random.normal(size=(60, width)) for view, width in WIDTHS.items()}
    total = np.clip(12 + 5 * states["a"][:, 0] + random.normal(size=60), 0, 27)
    views = tuple(WIDTHS)
    groups = [(view,) for view in views] if candidate.per_view else [views]
    parts = []
    for group in groups:
        anchors = [states[view] @ DIRECTIONS[view].T for view in group]
        seen = np.concatenate(anchors, axis=1) if candidate.with_anchors else np.zeros((60, 0))
        inputs = Inputs({view: states[view] for view in group}, seen)
        parts.append((group, fit_head(candidate.head, inputs, total)))
    return FrozenModel(candidate, tuple(parts), PLAIN)


def ensemble_of(pool):
    candidates = [
        Candidate("gp", per_view=True),
        Candidate("ridge", per_view=False),
        Candidate("histogram", per_view=False, with_anchors=False),
    ]
    members = tuple(Member(0, n, fitted(one, n)) for n, one in enumerate(candidates))
    source = SimpleNamespace(views=dict.fromkeys(WIDTHS), directions=DIRECTIONS)
    return Ensemble(members, {}, source, pool)


def timeline(words):
    said = tuple(Message("user", "word " * count) for count in words)
    count = len(said)
    never = np.full(count, np.datetime64("NaT"), dtype="datetime64[us]")
    return Timeline("new", said, np.arange(count), never, ("c",) * count, np.arange(count))


@pytest.mark.parametrize("pool", ["mean", "words", "last"])
def test_the_whole_graph_gives_what_the_ensemble_says_of_somebody_new(pool):
    """Three kinds of heads, two views, with anchors and without, every pool."""
    ensemble = ensemble_of(pool)
    graph = EnsembleGraph(ensemble)
    for turns in (1, 2, 7):
        states = person_states(turns, turns)
        person = timeline(states.words)
        said = ensemble.distributions([person], [states], [Span(0, 0, turns - 1)])
        (expected,) = said.probabilities
        views = [torch.from_numpy(states.views[view]) for view in WIDTHS]
        mean, found = graph(torch.from_numpy(states.words.astype(np.float32)), *views)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
        assert float(mean) == pytest.approx(expected @ np.arange(28), abs=1e-8)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_shares_of_turns_sum_to_one_and_a_silent_turn_counts_as_one_word(words):
    for pool in ("mean", "words"):
        share = EnsembleGraph.weights(SimpleNamespace(pool=pool), torched(words))
        assert float(share.sum()) == pytest.approx(1)
        counted = np.maximum(words, 1) if pool == "words" else np.ones(len(words))
        np.testing.assert_allclose(share.numpy(), counted / counted.sum())


def test_the_graph_can_be_differentiated_in_its_states():
    graph = EnsembleGraph(ensemble_of("mean"))
    states = person_states(3, 5)
    views = [torch.from_numpy(x).double().requires_grad_() for x in states.views.values()]
    mean, _ = graph(torch.from_numpy(states.words), *views)
    mean.backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in views)
    step = 1e-5
    moved = [x.detach().clone() for x in views]
    moved[0][1, 0] += step
    with torch.no_grad():
        higher, _ = graph(torch.from_numpy(states.words), *moved)
    slope = float(higher - mean.detach()) / step
    assert slope == pytest.approx(float(views[0].grad[1, 0]), abs=1e-3)


SAID = (
    "so tired of it all",
    "never sleep",
    "\u6211\u5f88\u7d2f",
    "fine, tired but fine",
    "",
    "zebra",
)


def test_words_and_characters_stand_in_the_graph_as_in_the_ensemble():
    """Members that know different words, a script without spaces, and a text of none of them."""
    counts = count_terms([f"{a} {b}" for a in SAID[:3] for b in SAID[:4]])
    total = np.random.default_rng(0).uniform(0, 27, counts.shape[0])
    models = []
    for number, (rows, share) in enumerate(((slice(0, 8), 0.4), (slice(4, 12), 1.0))):
        head = LexicalRidge.fit_counts(counts[rows], total[rows])
        states = fitted(Candidate("ridge", per_view=False), number)
        models.append(
            replace(states, candidate=replace(states.candidate, lexical=share),
                    parts=(*states.parts, ((), head)))
        )  # fmt: skip
    members = tuple(Member(0, n, model) for n, model in enumerate(models))
    source = SimpleNamespace(views=dict.fromkeys(WIDTHS), directions=DIRECTIONS)
    ensemble = Ensemble(members, {}, source, "mean")
    graph = EnsembleGraph(ensemble)
    assert set(models[0].parts[-1][1].columns) != set(models[1].parts[-1][1].columns)
    states = replace(person_states(len(SAID), 1), terms=count_terms(SAID))
    person = timeline(states.words)
    spans = [Span(0, first, last) for first, last in ((0, 0), (0, 5), (2, 3), (5, 5))]
    expected = ensemble.distributions([person], [states], spans)
    views = [torch.from_numpy(states.views[view]) for view in WIDTHS]
    for span, shape in zip(spans, expected.probabilities, strict=True):
        said = np.asarray(states.terms[span.turns].sum(axis=0), np.float32)[0, graph.columns]
        words = torch.from_numpy(states.words[span.turns].astype(np.float32))
        turns = [view[span.turns] for view in views]
        _, found = graph(words, *turns, torch.from_numpy(said))
        np.testing.assert_allclose(found.numpy(), shape, atol=1e-9)


def test_a_run_whose_reader_was_trained_is_no_graph():
    adapted = Member(0, 0, AdaptedModel(None, PLAIN, True))
    with pytest.raises(LeadlineError, match="fine-tuned"):
        EnsembleGraph(Ensemble((adapted,), {}, None, "mean"))
