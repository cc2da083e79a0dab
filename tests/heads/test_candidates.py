from dataclasses import replace

import numpy as np
import pytest

from leadline.heads import candidates as module
from leadline.heads.candidates import (
    CANDIDATES,
    USUAL_WEIGHT,
    Candidate,
    LabelledReadings,
    Tried,
    chosen_candidate,
    cross_validated_estimates,
    fit_frozen,
    lexical_weight,
)
from leadline.heads.design import Design
from leadline.heads.prior import AnchorPrior, StartedProcess
from leadline.heads.terms import Terms, count_terms

PEOPLE, EACH = 36, 3
RIDGE = Candidate("ridge", per_view=False)


def rows_of(seed=0, people=PEOPLE):
    """Three readings of each person's label, the last of them the whole window."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), EACH)
    total = random.integers(0, 28, people).astype(float)[person]
    signal = (total - 13)[:, None] / 6
    states = {
        "a": np.concatenate([signal + random.normal(size=(len(person), 1)),
                             random.normal(size=(len(person), 4))], axis=1),
        "b": random.normal(size=(len(person), 3)),
    }  # fmt: skip
    anchors = {view: signal + random.normal(size=(len(person), 2)) for view in states}
    words = np.tile([5.0, 30.0, 90.0], people)
    final = np.tile([False, False, True], people)
    ones = np.ones(len(person))
    return LabelledReadings(Design(states, anchors, words), total, ones, person, final, ones / EACH)


ROWS = rows_of()


def fit(rows=ROWS, candidates=(RIDGE,), **more):
    return fit_frozen(rows, candidates, **{"inner_folds": 3, "seed": 0, **more})


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_a_candidate_learns_and_gives_distributions(candidate):
    model, table = fit(candidates=(candidate,))
    totals = model.distribution(rows_of(1).design)
    np.testing.assert_allclose(totals.probabilities.sum(1), 1)
    assert np.corrcoef(totals.mean(), rows_of(1).total)[0, 1] > 0.6
    assert [row["candidate"] for row in table] == [candidate.name]
    assert len(model.parts) == (2 if candidate.per_view else 1)


def test_the_candidate_of_the_best_inner_score_is_chosen_and_fitted_on_everyone():
    model, table = fit(candidates=CANDIDATES)
    best = min(table, key=lambda row: row["crps"])
    assert model.candidate.name == best["candidate"]
    alone, _ = fit(candidates=(model.candidate,))
    np.testing.assert_array_equal(model.raw(ROWS.design)[0], alone.raw(ROWS.design)[0])
    assert model.calibration == alone.calibration
    assert len({row["crps"] for row in table}) == len(CANDIDATES)


def test_inner_estimates_of_a_person_do_not_depend_on_the_persons_own_label():
    folds = module._inner_folds(ROWS, 3, 0)
    before = cross_validated_estimates(RIDGE, ROWS, folds, 0)
    mine = ROWS.person == 7
    other = replace(ROWS, total=np.where(mine, 27 - ROWS.total, ROWS.total))
    after = cross_validated_estimates(RIDGE, other, folds, 0)
    same = folds == folds[mine][0]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[same], two[same])
        assert (one[~same] != two[~same]).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_inner_folds_keep_people_whole_of_one_size_and_stratified(count):
    folds = module._inner_folds(ROWS, count, 4)
    by_person = folds.reshape(PEOPLE, EACH)
    assert (by_person == by_person[:, :1]).all()
    sizes = np.bincount(by_person[:, 0], minlength=count)
    assert sizes.max() - sizes.min() <= 1
    severity = ROWS.total[::EACH]
    means = [severity[by_person[:, 0] == fold].mean() for fold in range(count)]
    assert np.ptp(means) < 3
    assert not np.array_equal(folds, module._inner_folds(ROWS, count, 5))


def test_heads_are_fitted_on_whole_windows_only():
    changed = np.where(ROWS.final[:, None], ROWS.design.states["a"], 99.0)
    design = Design({**ROWS.design.states, "a": changed}, ROWS.design.anchors, ROWS.design.words)
    one, other = (module.fit_heads(RIDGE, rows, 0) for rows in (ROWS, replace(ROWS, design=design)))
    np.testing.assert_array_equal(one[0][1].coefficients, other[0][1].coefficients)


def test_one_head_a_view_averages_what_they_say():
    apart = Candidate("ridge", per_view=True)
    model, _ = fit(candidates=(apart,))
    means, deviations = zip(
        *(head.predict(ROWS.design.inputs(views, views)) for views, head in model.parts),
        strict=True,
    )
    assert [views for views, _ in model.parts] == [("a",), ("b",)]
    mean, sd = model.raw(ROWS.design)
    np.testing.assert_allclose(mean, np.mean(means, axis=0))
    np.testing.assert_allclose(sd**2, np.mean(np.square(deviations), axis=0))


def test_without_anchors_the_scores_are_not_seen():
    bare = Candidate("ridge", per_view=False, with_anchors=False)
    model, _ = fit(candidates=(bare,))
    nonsense = Design(
        ROWS.design.states, {v: x + 50 for v, x in ROWS.design.anchors.items()}, ROWS.design.words
    )
    np.testing.assert_array_equal(model.raw(nonsense)[0], model.raw(ROWS.design)[0])


def test_with_many_people_some_choose_and_all_are_fitted(monkeypatch):
    monkeypatch.setattr(module, "PEOPLE_FOR_SELECTION", 12)
    seen = []
    real = module.fit_calibration
    monkeypatch.setattr(
        module, "fit_calibration", lambda *given: seen.append(given) or real(*given)
    )
    model, _ = fit()
    (given,) = seen
    assert [len(part) for part in given] == [12 * EACH] * 6
    monkeypatch.undo()
    whole, _ = fit()
    np.testing.assert_array_equal(model.raw(ROWS.design)[0], whole.raw(ROWS.design)[0])


def test_weights_reach_the_score_and_the_heads():
    light = np.where(ROWS.person < 12, 0.05, 1.0)
    wrong = np.where(ROWS.person < 12, 27 - ROWS.total, ROWS.total)
    weighted, table = fit(replace(ROWS, total=wrong, weight=light))
    plain, other = fit(replace(ROWS, total=wrong))
    new = rows_of(1)
    errors = [np.abs(m.raw(new.design)[0] - new.total).mean() for m in (weighted, plain)]
    assert errors[0] < errors[1]
    assert table[0]["mae"] < other[0]["mae"]


def test_progress_names_each_candidate():
    named = []
    fit(candidates=CANDIDATES[2:], progress=named.append)
    assert named == [candidate.name for candidate in CANDIDATES[2:]]


def with_words(rows, told, seed=0):
    """The same readings, whose words tell of the total or of nothing."""
    random = np.random.default_rng(seed)
    share = rows.total / 27 if told else random.random(len(rows.total))
    hits = random.random((len(rows.total), 20)) < share[:, None]
    texts = [" ".join(np.where(row, "tired", "well")) for row in hits]
    spans = np.array([(row, 0, 0) for row in range(len(texts))])
    terms = Terms(tuple(count_terms([text]) for text in texts), spans)
    return replace(rows, design=replace(rows.design, terms=terms))


def test_words_weigh_as_much_as_they_tell():
    weights = {}
    for told in (True, False):
        rows = with_words(ROWS, told)
        model, table = fit(rows)
        weights[told] = model.candidate.lexical
        assert table[0]["lexical"] == model.candidate.lexical
        without, _ = fit(rows, lexical=False)
        assert without.candidate.lexical == 0
        assert len(model.parts) == len(without.parts) + (weights[told] > 0)
        new = with_words(rows_of(1), told, seed=1)
        errors = [np.abs(m.distribution(new.design).mean() - new.total).mean()
                  for m in (model, without)]  # fmt: skip
        assert errors[0] < (0.95 if told else 1.1) * errors[1]
    assert weights[True] > 0.5 > 2 * weights[False]


def test_the_weight_is_the_least_squares_one_drawn_to_the_middle():
    random = np.random.default_rng(0)
    total = random.normal(11, 6, 4000)
    one, two = total + random.normal(0, 4, 4000), total + random.normal(0, 2, 4000)
    assert lexical_weight(one, two, total) == pytest.approx(0.8, abs=0.03)  # 16 / (16 + 4)
    few = [lexical_weight(one[:n], two[:n], total[:n]) for n in (3, 30)]
    assert abs(few[0] - USUAL_WEIGHT) < 0.25
    assert lexical_weight(total, one, total) == pytest.approx(0.0, abs=1e-6)
    assert lexical_weight(one, total, total) == pytest.approx(1.0, abs=0.01)


def started_from(rows):
    prior = AnchorPrior.of_people(rows.design.inputs(("a", "b"), ("a", "b")), (13.5, 8.0))
    return Candidate("started", per_view=False, start=prior)


def tried(candidate, crps):
    crps = np.asarray(crps, float)
    return Tried(candidate, crps, crps, crps)


@pytest.mark.parametrize(("noise", "stays"), [(3.0, True), (0.1, False)])
def test_what_starts_from_a_prior_stays_until_another_is_clearly_better(noise, stays):
    start = started_from(ROWS)
    random = np.random.default_rng(0)
    gain = 0.2 + noise * random.normal(size=PEOPLE)
    gain += 0.2 - gain.mean()  # the other is better by .2 on average
    ways = [tried(start, np.full(PEOPLE, 4.0)), tried(RIDGE, 4.0 - gain)]
    expected = start if stays else RIDGE
    assert chosen_candidate(ways, ROWS).candidate is expected
    assert chosen_candidate(ways[::-1], ROWS).candidate is expected
    assert chosen_candidate(ways[1:], ROWS).candidate is RIDGE


def test_a_candidate_that_starts_from_a_prior_is_fitted_and_learns():
    model, table = fit(candidates=(started_from(ROWS), RIDGE))
    assert next(row["candidate"] for row in table) == "started, views joined, anchored"
    again = fit(candidates=(started_from(ROWS),))[0]
    assert isinstance(again.parts[0][1], StartedProcess)
    new = rows_of(1)
    assert np.corrcoef(again.raw(new.design)[0], new.total)[0, 1] > 0.7
    assert model.candidate.name in {row["candidate"] for row in table}
