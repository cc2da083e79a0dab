"""No estimate of a person comes from a model that saw the person, and intervals hold for others.

The house says who may speak with one comparison in `Ensemble.members_for`. Here the same is
worked out the long way: for every model the list of people whom it was trained on, and for
every estimate a walk over all models.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.cohort.timeline import Message, Timeline
from leadline.cohort.windows import Span
from leadline.finetune.members import moments
from leadline.heads.calibration import Calibrated, Calibration, fit_calibration
from leadline.phq9.distribution import Totals
from leadline.phq9.items import TOTALS
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.ledger import ledger_table, read_ledger

NAMES = [f"p{number}" for number in range(8)]
STRANGERS = ["x0", "x1"]
MOST_REPEATS, MOST_FOLDS = 3, 4


@dataclass(frozen=True)
class Witness(AdaptedModel):
    """A model whose estimate is certain of its own number, and who notes whom it was asked of."""

    number: int = 0
    asked_of: list[str] = field(default_factory=list)

    def estimates(self, people, spans):
        self.asked_of.extend(people[span.person].person_id for span in spans)
        return Calibrated(np.full(len(spans), float(self.number)), np.full(len(spans), 1e-3))


def certain(number, rows):
    return Totals(np.tile(np.eye(TOTALS)[number], (rows, 1)))


def calibration_of(number):
    """Each model's own: centre and widths tell which models had a say."""
    plain = Calibration(centre=2.0**number, stretch=1, half_words=1, widen=1, few_words=1)
    return replace(plain, levels=(0.5,), widths=(0.01 * number,))


def ensemble_of(left_out, members):
    witnesses = tuple(
        Member(repeat, fold, Witness(None, calibration_of(n), True, number=n))
        for n, (repeat, fold) in enumerate(members)
    )
    return Ensemble(witnesses, left_out, None, "mean")


@st.composite
def runs(draw):
    """A ledger and the models that it is about, in any order, some more than once."""
    repeats = draw(st.integers(1, MOST_REPEATS))
    folds = draw(st.integers(2, MOST_FOLDS))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    fold = st.integers(0, folds - 1)
    left_out = {name: {r: draw(fold) for r in range(repeats)} for name in names}
    every = [(r, f) for r in range(repeats) for f in range(folds)]
    again = draw(st.lists(st.sampled_from(every), max_size=3))
    return left_out, draw(st.permutations(every + again))


def trained_on(left_out, repeat, fold):
    """People whose PHQ-9s the model of this fold was fitted on: all but its own fold."""
    seen = set()
    for name, folds in left_out.items():
        for r, f in folds.items():
            if r == repeat and f != fold:
                seen.add(name)
    return seen


def may_speak(left_out, members, name):
    return [n for n, m in enumerate(members) if name not in trained_on(left_out, *m)]


def timeline(name):
    said = tuple(Message("user", "so tired today") for _ in range(3))
    never = np.full(3, np.datetime64("NaT"), dtype="datetime64[us]")
    return Timeline(name, said, np.arange(3), never, ("c",) * 3, np.arange(3, dtype=np.int32))


@given(runs())
def test_who_may_speak_is_who_was_not_trained_on_the_person(run):
    left_out, members = run
    ensemble = ensemble_of(left_out, members)
    for name in NAMES + STRANGERS:
        assert list(ensemble.members_for(name)) == may_speak(left_out, members, name)


@given(runs(), st.data())
def test_no_model_is_even_asked_about_a_person_whom_it_saw(run, data):
    left_out, members = run
    ensemble = ensemble_of(left_out, members)
    row = st.integers(0, len(NAMES + STRANGERS) - 1)
    order = data.draw(st.permutations(NAMES + STRANGERS))
    spans = [Span(n, 0, 1) for n in data.draw(st.lists(row, max_size=12))]
    found = ensemble.distributions([timeline(name) for name in order], None, spans)
    assert len(found) == len(spans)
    for member, (repeat, fold) in zip(ensemble.members, members, strict=True):
        assert not trained_on(left_out, repeat, fold) & set(member.model.asked_of)
    for span, shape in zip(spans, found.probabilities, strict=True):
        speakers = may_speak(left_out, members, order[span.person])
        expected = sum(np.eye(TOTALS)[n] for n in speakers) / len(speakers)
        np.testing.assert_allclose(shape, expected, atol=1e-12)


@given(runs())
def test_the_start_and_the_width_of_an_interval_are_of_the_same_models(run):
    """The estimate before a word is a mean of labels, so it obeys the rule as well."""
    left_out, members = run
    ensemble = ensemble_of(left_out, members)
    for name in NAMES + STRANGERS:
        speakers = may_speak(left_out, members, name)
        assert ensemble.centre(name) == np.mean([2.0**n for n in speakers])
        assert ensemble.width(0.5, name) == pytest.approx(np.mean([0.01 * n for n in speakers]))
    assert ensemble.centre() == np.mean([2.0**n for n in range(len(members))])


@given(runs())
def test_the_rule_survives_the_ledger_on_disk(run):
    """Locked people stand in the table too, and are strangers to every model."""
    left_out, members = run
    labels = dict.fromkeys(left_out, 1) | dict.fromkeys(STRANGERS, 2)
    again = ensemble_of(read_ledger(ledger_table(left_out, labels)), members)
    for name in left_out:
        assert list(again.members_for(name)) == may_speak(left_out, members, name)
    for name in STRANGERS:
        assert len(again.members_for(name)) == len(members)


def test_one_person_in_four_folds():
    left_out = {"ann": {0: 2}, "ben": {0: 0}}
    ensemble = ensemble_of(left_out, [(0, 0), (0, 1), (0, 2), (0, 3)])
    assert ensemble.members_for("ann") == (2,)
    assert ensemble.members_for("ben") == (0,)
    assert ensemble.members_for("someone new") == (0, 1, 2, 3)


def test_a_repeat_that_the_ledger_does_not_know_of_may_not_speak():
    """Who is not known to have been left out counts as seen."""
    ensemble = ensemble_of({"ann": {0: 1}}, [(0, 0), (0, 1), (1, 0), (1, 1)])
    assert ensemble.members_for("ann") == (1,)


def test_without_a_model_that_never_saw_the_person_there_is_no_estimate():
    ensemble = ensemble_of({"ann": {0: 1}}, [(0, 0)])
    with pytest.raises(AssertionError, match="may speak of it"):
        ensemble.distributions([timeline("ann")], None, [Span(0, 0, 0)])


def test_a_model_is_asked_only_about_the_readings_of_those_it_may_estimate():
    ensemble = ensemble_of({"ann": {0: 0}, "ben": {0: 1}}, [(0, 0), (0, 1)])
    people = [timeline("ben"), timeline("ann"), timeline("eve")]
    asked = {}

    def estimate(number, rows):
        asked[number] = rows.tolist()
        return certain(number, len(rows))

    ensemble.average(people, [Span(0, 0, 0), Span(1, 0, 2), Span(2, 1, 1), Span(0, 0, 2)], estimate)
    assert asked == {0: [1, 2], 1: [0, 2, 3]}
    asked.clear()
    assert len(ensemble.average([], [], estimate)) == 0
    assert asked == {}


PEOPLE, NEW, FOLDS = 200, 400, 5


class Sure:
    """A head that claims a deviation of its own about estimates that are off by another."""

    def __init__(self, means, deviation):
        self.shapes = Totals.normal(means, np.full(len(means), deviation)).probabilities

    def predict(self, people):
        numbers = [int(person.messages[0].text) for person in people]
        return [self.shapes[[number] * len(person.readings)]
                for number, person in zip(numbers, people, strict=True)]  # fmt: skip


def numbered(number):
    said = (Message("user", str(number)),)
    never = np.full(1, np.datetime64("NaT"), dtype="datetime64[us]")
    words = np.arange(1, dtype=np.int32)
    return Timeline(f"n{number}", said, np.arange(1), never, ("c",), words)


def run_of_sure_heads(seed, *, shared, own, deviation=1.5):
    """People 0 to 199 calibrate the heads of five folds, cross-conformally; 400 are new.

    Returns:
        The ensemble, everyone, and their totals.
    """
    random = np.random.default_rng(seed)
    truth = random.normal(11, 6.5, PEOPLE + NEW)
    total = np.clip(np.rint(truth), 0, 27)
    seen = truth + random.normal(0, shared, len(truth))
    heads = [Sure(seen + random.normal(0, own, len(truth)), deviation) for _ in range(FOLDS)]
    fold = np.arange(PEOPLE) % FOLDS
    raw = np.array([heads[f].shapes[row] for row, f in enumerate(fold)])
    members = []
    for f, head in enumerate(heads):
        rows = np.flatnonzero(fold != f)
        mean, sd, histograms = moments(raw[rows])
        ones = np.ones(len(rows))
        calibration = fit_calibration(
            mean, sd, ones, total[rows], ones, ones > 0, histograms=histograms
        )
        members.append(Member(0, f, AdaptedModel(head, calibration, False)))
    left_out = {f"n{row}": {0: int(f)} for row, f in enumerate(fold)}
    people = [numbered(row) for row in range(len(truth))]
    return Ensemble(tuple(members), left_out, None, "mean"), people, total


def coverage(ensemble, people, total, rows):
    spans = [Span(int(row), 0, 0) for row in rows]
    totals = ensemble.distributions(people, None, spans)
    width = np.array([ensemble.width(0.9, people[row].person_id) for row in rows])
    lower, upper = totals.interval(width)
    return np.mean((lower <= total[rows] + 1e-9) & (total[rows] <= upper + 1e-9))


@pytest.mark.parametrize(
    ("shared", "own", "seeds"),
    [(4.0, 0.0, 20), (2.8, 2.8, 6), (0.5, 0.0, 6)],
    ids=["one opinion", "half of the error is each head's own", "too modest"],
)
def test_intervals_of_heads_hold_for_new_people_however_sure_the_heads_are(shared, own, seeds):
    """A head that claims 1.5 points and errs by 4; five that disagree; one that could claim less.

    The raw histogram with widths made for a normal held 51% of the first.
    """
    new, out_of_fold = [], []
    for seed in range(seeds):
        ensemble, people, total = run_of_sure_heads(seed, shared=shared, own=own)
        new.append(coverage(ensemble, people, total, np.arange(PEOPLE, PEOPLE + NEW)))
        out_of_fold.append(coverage(ensemble, people, total, np.arange(PEOPLE)))
    assert 0.86 < np.mean(new) < 0.94
    assert 0.86 < np.mean(out_of_fold) < 0.94


def test_models_that_disagree_are_narrowed_and_one_alone_is_not():
    """The average is as wide as a member's errors less what the average takes out of them."""
    calibration = Calibration(12.0, 1, 1e-9, 1, 1e-9)
    heads = [Sure(np.full(3, mean), 3.0) for mean in (9.0, 11.0, 13.0)]
    left_out = {"n0": {0: 1}}
    members = tuple(Member(0, f, AdaptedModel(h, calibration, False)) for f, h in enumerate(heads))
    ensemble = Ensemble(members, left_out, None, "mean")
    people = [numbered(0), numbered(1)]
    totals = ensemble.distributions(people, None, [Span(0, 0, 0), Span(1, 0, 0)])
    among = np.var([9, 11, 13])
    assert totals.mean() == pytest.approx([11, 11], abs=0.05)
    assert totals.variance() == pytest.approx([9, 9 - among], abs=0.2)


def test_a_run_of_before_gives_what_it_was_evaluated_on():
    shapes = 0.5 * Totals.normal(np.array([4.0]), np.array([1.0])).probabilities
    shapes += 0.5 * Totals.normal(np.array([20.0]), np.array([1.0])).probabilities
    calibration = Calibration(12.0, 1, 1e-9, 1, 1e-9)
    words = np.array([50.0])
    before = AdaptedModel(None, calibration, False, keeps_form=False).calibrated(shapes, words)
    np.testing.assert_array_equal(before.totals().probabilities, shapes)
    narrowed = before.narrowed(np.array([1.0])).totals().probabilities
    np.testing.assert_array_equal(narrowed, shapes)
    now = AdaptedModel(None, calibration, False).calibrated(shapes, words).totals()
    assert not np.allclose(now.probabilities, shapes, atol=0.01)
