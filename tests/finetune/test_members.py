"""Trained readers as members of an ensemble: one base, estimates in the order of their spans."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leadline.cohort.timeline import Message, Timeline
from leadline.cohort.windows import Span
from leadline.finetune import members
from leadline.finetune.members import (
    SCALAR_DEVIATION,
    SharedBase,
    StoredModel,
    moments,
    raw_estimates,
)
from leadline.phq9.items import TOTALS


def timeline(number, turns=6):
    said = tuple(Message("user", f"{number} {turn}") for turn in range(turns))
    never = np.full(turns, np.datetime64("NaT"), dtype="datetime64[us]")
    return Timeline(f"p{number}", said, np.arange(turns), never, ("c",) * turns, np.arange(turns))


PEOPLE = [timeline(number) for number in range(4)]


class Reciting:
    """A model whose output tells person, first and last turn of the reading."""

    def __init__(self, scalar):
        self.scalar, self.asked = scalar, []

    def predict(self, people):
        self.asked.append(len(people))
        out = []
        for person in people:
            number = int(person.messages[0].text.split()[0])
            values = [100 * number + 10 * r.first + r.last for r in person.readings]
            out.append(np.array(values) if self.scalar else np.array(values)[:, None] + np.ones(28))
        return out


@st.composite
def spans(draw):
    last = draw(st.integers(0, 5))
    return Span(draw(st.integers(0, 3)), draw(st.integers(0, last)), last)


@given(st.lists(spans(), min_size=1, max_size=12), st.booleans())
def test_estimates_come_in_the_order_of_the_spans(asked, scalar):
    model = Reciting(scalar)
    found = raw_estimates(model, PEOPLE, asked)
    expected = np.array([100 * s.person + 10 * s.first + s.last for s in asked], dtype=float)
    np.testing.assert_array_equal(found if scalar else found[:, 0] - 1, expected)
    assert model.asked == [len({s.person for s in asked})], "each person is read once"


SHAPES = arrays(np.float64, (5, TOTALS), elements=st.floats(1e-3, 1))


@given(SHAPES)
def test_moments_are_those_of_the_normalised_shape(raw):
    mean, sd, shape = moments(raw)
    for row in range(len(raw)):
        p = raw[row] / raw[row].sum()
        k = np.arange(TOTALS)
        np.testing.assert_allclose(shape.probabilities[row], p)
        assert mean[row] == pytest.approx((p * k).sum())
        assert sd[row] == pytest.approx(max(0.5, np.sqrt((p * (k - mean[row]) ** 2).sum())))


def test_a_certain_shape_keeps_a_small_deviation():
    mean, sd, _ = moments(np.eye(TOTALS)[[3, 20]])
    assert mean.tolist() == pytest.approx([3, 20])
    assert sd.tolist() == pytest.approx([0.5, 0.5])


def test_a_scalar_has_a_deviation_to_start_from_and_no_shape():
    mean, sd, shape = moments(np.array([102.0, 11.0]))
    assert mean.tolist() == [102, 11]
    assert set(sd.tolist()) == {SCALAR_DEVIATION}
    assert shape is None


class FakeModel:
    """Stands in for `FinetunedModel`: says whose weights are in it."""

    loaded: list[Path] = []  # noqa: RUF012  counted by one test at a time

    def __init__(self, checkpoint):
        self.holds = checkpoint
        self.swapped = 0

    @classmethod
    def load(cls, checkpoint, home=None, shared=None):
        cls.shared = shared
        cls.loaded.append(checkpoint)
        return cls(checkpoint)

    def load_weights(self, checkpoint):
        self.holds, self.swapped = checkpoint, self.swapped + 1

    def predict(self, people):
        return [self.holds]


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(members, "FinetunedModel", FakeModel)
    FakeModel.loaded = []
    return FakeModel


@given(st.lists(st.integers(0, 2), min_size=1, max_size=10))
def test_each_member_answers_with_its_own_weights_from_one_base(order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "FinetunedModel", FakeModel)
        FakeModel.loaded = []
        base = SharedBase(None)
        stored = [StoredModel(Path(f"fold-{n}"), base) for n in range(3)]
        answers = [stored[n].predict([])[0] for n in order]
    assert answers == [Path(f"fold-{n}") for n in order]
    assert len(FakeModel.loaded) == 1, "the base is in memory once"
    changes = sum(a != b for a, b in pairwise(order))
    assert base.model.swapped == changes, "weights are read only when they are others"


def test_members_read_on_the_base_that_the_fits_share(fake):
    shared = object()
    base = SharedBase(None, shared=shared)
    StoredModel(Path("a"), base).predict([])
    assert fake.shared is shared


def test_a_separate_model_leaves_the_shared_one_alone(fake):
    base = SharedBase(None)
    one, other = (StoredModel(Path(name), base) for name in ("a", "b"))
    shared, apart = one.shared(), other.separate()
    assert apart is not shared
    assert (shared.holds, apart.holds) == (Path("a"), Path("b"))
    assert base.checkpoint == Path("a")
    assert fake.loaded == [Path("a"), Path("b")]
