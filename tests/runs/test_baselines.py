import numpy as np
import pytest
from tests.support.cohorts import cohort_of, turn_rows

from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.runs.baselines import (
    BASELINES,
    NO_WORDS,
    BaselineFeatures,
    describe,
    predict_baseline,
    reading_texts,
)

SAID = [("assistant", 0), ("user", 0.1), ("assistant", 0.2), ("clinician", 0.3), ("user", 1.5),
        ("assistant", 1.6), ("user", 3)]  # fmt: skip


def timeline(said=SAID):
    (one,) = timelines(cohort_of(turn_rows("p", said), []))
    return one


def texts(count, word, seed=0):
    random = np.random.default_rng(seed)
    out = np.empty(count, dtype=object)
    totals = random.integers(0, 28, count).astype(float)
    for row, total in enumerate(totals):
        hits = random.random(20) < total / 27
        out[row] = " ".join(np.where(hits, word, "well"))
    return out, totals


def readings(count=60, seed=0, *, told="said"):
    """Readings whose totals are told by one part of what a baseline sees."""
    spoken, totals = texts(count, "tired", seed)
    random = np.random.default_rng(seed + 100)
    same = np.full(count, "hello there", dtype=object)
    counts = random.normal(size=(count, 7))
    embeddings = random.normal(size=(count, 5))
    if told == "counts":
        counts[:, 1] = totals
    if told == "embeddings":
        embeddings[:, 0] = totals
    return BaselineFeatures(
        spoken if told == "said" else same,
        spoken if told == "heard" else same,
        counts, embeddings,
    ), totals  # fmt: skip


WHERE = {"length": "counts", "assistant only": "heard", "tf-idf": "said", "minilm": "embeddings"}


def error(name, told):
    train, total = readings(told=told)
    test, truth = readings(seed=1, told=told)
    mean, totals = predict_baseline(name, train, total, test)
    np.testing.assert_allclose(totals.probabilities.sum(1), 1)
    assert len(totals) == 60
    assert ((mean >= 0) & (mean <= 27)).all()
    return np.abs(mean - truth).mean()


@pytest.mark.parametrize("name", BASELINES[1:])
def test_a_baseline_learns_from_its_own_part_and_from_no_other(name):
    constant = error("constant", "said")
    assert error(name, WHERE[name]) < 0.6 * constant
    for told in set(WHERE.values()) - {WHERE[name]}:
        assert error(name, told) > 0.9 * constant, told


def test_the_constant_knows_how_the_training_people_scored():
    train, total = readings()
    mean, totals = predict_baseline("constant", train, total, readings(seed=1)[0])
    np.testing.assert_allclose(mean, total.mean())
    counts = np.bincount(total.astype(int), minlength=28)
    np.testing.assert_allclose(totals.probabilities[0], (counts + 1 / 28) / (60 + 1))


@pytest.mark.parametrize("name", ["assistant only", "tf-idf"])
@pytest.mark.parametrize("words", ["same", "none", "distinct", "signs"])
def test_words_from_which_nothing_can_be_learned_give_the_constant(name, words):
    train, total = readings()
    said = {
        "same": ["hello"] * 60,
        "none": [NO_WORDS] * 60,
        "distinct": [f"word{i}" for i in range(60)],
        "signs": ["..." if i % 2 else "!?" for i in range(60)],
    }[words]
    made = np.array(said, dtype=object)
    mean, _ = predict_baseline(name, BaselineFeatures(made, made, train.counts, None), total, train)
    np.testing.assert_allclose(mean, total.mean())


def test_a_test_text_of_unknown_words_is_estimated():
    train, total = readings()
    strange = np.array(["zzz"] * 60, dtype=object)
    mean, _ = predict_baseline(
        "tf-idf", train, total, BaselineFeatures(strange, strange, train.counts, None)
    )
    assert np.isfinite(mean).all()


def test_what_was_said_and_heard_in_a_reading():
    person = timeline()
    assert reading_texts(person, Span(0, 0, 0)) == ("p user number 1", "p assistant number 0")
    assert reading_texts(person, Span(0, 1, 1)) == (
        "p user number 4", "p assistant number 2\np clinician number 3",
    )  # fmt: skip
    assert reading_texts(person, Span(0, 2, 2))[1] == "p assistant number 5"
    assert reading_texts(person, Span(0, 0, 2))[0].count("\n") == 2
    assert reading_texts(timeline([("user", 0), ("user", 1)]), Span(0, 0, 1))[1] == NO_WORDS


def test_amounts_and_times_of_a_reading_look_at_no_word():
    turns, words, each, spread, days, night, talks = describe(timeline(), Span(0, 0, 2))
    assert (turns, words) == pytest.approx((np.log(4), np.log(13)))
    assert (each, spread, talks) == (4, 0, 1)
    assert days == pytest.approx(2.9)
    assert night == pytest.approx(1 / 3)  # day 1.5 is midnight
    undated = describe(timeline([("user", None), ("user", None)]), Span(0, 0, 1))
    assert np.isfinite(undated).all()
    assert undated[4:6] == [0, 0]


def test_later_turns_are_not_in_a_reading(simulated):
    people = list(timelines(simulated))[:3]
    made = BaselineFeatures.of(people, [Span(0, 0, 2), Span(1, 1, 3)], None)
    for row, (person, last) in enumerate([(0, 2), (1, 3)]):
        later = people[person].messages[people[person].user[last] + 1 :]
        for message in later:
            if message.text not in {m.text for m in people[person].messages[: -len(later)]}:
                assert message.text not in (made.user_texts[row] + made.heard_texts[row]).split(
                    "\n"
                )
    assert made.take(np.array([1])).user_texts[0] == made.user_texts[1]
    assert made.counts.shape == (2, 7)
