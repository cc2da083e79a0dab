"""The ridge on words and characters: against scikit-learn, and by what it must keep."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import Ridge

from leadline.heads import lexical
from leadline.heads.head import head_state, restore_head
from leadline.heads.inputs import Inputs
from leadline.heads.lexical import LexicalRidge, common_terms
from leadline.heads.terms import COLUMNS, Terms, count_terms

WORDS = np.array(["tired", "sad", "fine", "work", "hopeless", "walk", "sleep", "dog"])


def people(count, seed):
    random = np.random.default_rng(seed)
    chosen = random.random((count, len(WORDS))) < 0.5
    total = np.clip(3 + chosen @ [6.0, 5, -2, 0, 7, 0, 0, 0] + random.normal(0, 1, count), 0, 27)
    return [" ".join(WORDS[row]) or "well" for row in chosen], total


TEXTS, TOTAL = people(80, 0)
COUNTS = count_terms(TEXTS)
NEW, TRUTH = people(40, 1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_it_is_tf_idf_and_ridge(monkeypatch, share):
    """Of words alone and of characters alone, with the penalty that it chose."""
    monkeypatch.setattr(lexical, "SHARES_OF_CHARACTERS", (share,))
    monkeypatch.setattr(lexical, "PENALTIES", np.array([0.7]))
    head = LexicalRidge.fit_counts(COUNTS, TOTAL)
    exact = COUNTS.astype(np.float64)
    half = slice(COLUMNS, None) if share else slice(0, COLUMNS)
    columns = common_terms(COUNTS[:, half])[0]
    weigh = TfidfTransformer(sublinear_tf=True)
    x = weigh.fit_transform(exact[:, half][:, columns])
    other = Ridge(0.7, tol=1e-10).fit(x, TOTAL)
    new = count_terms(NEW).astype(np.float64)
    expected = other.predict(weigh.transform(new[:, half][:, columns]))
    np.testing.assert_allclose(head.predict_counts(new)[0], expected, atol=1e-6)
    left = [
        TOTAL[row] - Ridge(0.7, tol=1e-10).fit(x[rest], TOTAL[rest]).predict(x[row])[0]
        for row in range(len(TOTAL))
        for rest in [np.delete(np.arange(len(TOTAL)), row)]
    ]
    assert head.deviation == pytest.approx(np.sqrt(np.mean(np.square(left))), rel=0.02)


def test_it_learns_and_survives_a_checkpoint():
    head = LexicalRidge.fit_counts(COUNTS, TOTAL)
    mean, sd = head.predict_counts(count_terms(NEW))
    assert np.corrcoef(mean, TRUTH)[0, 1] > 0.9
    again = restore_head(*head_state(head))
    np.testing.assert_array_equal(again.predict_counts(count_terms(NEW))[0], mean)
    assert (sd == head.deviation).all()


def test_a_weight_counts_like_rows():
    weight = np.where(np.arange(80) % 2, 1.0, 3.0)
    head = LexicalRidge.fit_counts(COUNTS, TOTAL, weight)
    assert head.intercept != pytest.approx(LexicalRidge.fit_counts(COUNTS, TOTAL).intercept)


def test_from_nothing_shared_it_says_the_mean():
    nothing = count_terms([chr(0x4E00 + row) for row in range(20)])
    head = LexicalRidge.fit_counts(nothing, TOTAL[:20])
    assert len(head.columns) == 0
    np.testing.assert_allclose(head.predict_counts(COUNTS)[0], TOTAL[:20].mean())


def test_readings_are_estimated_alone_as_together():
    head = LexicalRidge.fit_counts(COUNTS, TOTAL)
    terms = Terms((count_terms(NEW),), np.array([(0, 0, last) for last in range(len(NEW))]))
    inputs = Inputs({}, np.zeros((len(NEW), 0)), None, terms)
    together = head.predict(inputs)[0]
    alone = [head.predict(inputs.take(np.array([row])))[0][0] for row in range(len(NEW))]
    np.testing.assert_allclose(together, alone, atol=1e-12)
