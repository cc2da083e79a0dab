import numpy as np
import pytest
from tests.support.cohorts import cohort_of, turn_rows

from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.heads.candidates import PEOPLE_FOR_SELECTION
from leadline.runs.baselines import (
    BASELINES,
    NO_WORDS,
    BaselineFeatures,
    describe,
    inner_person_folds,
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


def ids(count):
    return np.array([f"p{number:04d}" for number in range(count)])


WHERE = {"length": "counts", "assistant only": "heard", "tf-idf": "said", "minilm": "embeddings"}


def error(name, told):
    train, total = readings(told=told)
    test, truth = readings(seed=1, told=told)
    estimates = predict_baseline(name, train, total, ids(60), test)
    np.testing.assert_allclose(estimates.totals.probabilities.sum(1), 1)
    assert len(estimates.totals) == 60
    assert ((estimates.mean >= 0) & (estimates.mean <= 27)).all()
    return np.abs(estimates.mean - truth).mean()


@pytest.mark.parametrize("name", BASELINES[1:])
def test_a_baseline_learns_from_its_own_part_and_from_no_other(name):
    constant = error("constant", "said")
    assert error(name, WHERE[name]) < 0.6 * constant
    for told in set(WHERE.values()) - {WHERE[name]}:
        assert error(name, told) > 0.9 * constant, told


def test_the_constant_knows_how_the_training_people_scored():
    train, total = readings()
    estimates = predict_baseline("constant", train, total, ids(60), readings(seed=1)[0])
    np.testing.assert_allclose(estimates.mean, total.mean())
    counts = np.bincount(total.astype(int), minlength=28)
    np.testing.assert_allclose(estimates.totals.probabilities[0], (counts + 1 / 28) / (60 + 1))


@pytest.mark.parametrize("name", ["assistant only", "tf-idf"])
@pytest.mark.parametrize("words", ["same", "none", "distinct", "signs"])
def test_words_from_which_nothing_can_be_learned_give_the_constant(name, words):
    train, total = readings()
    said = {
        "same": ["hello"] * 60,
        "none": [NO_WORDS] * 60,
        "distinct": [chr(0x4E00 + i) for i in range(60)],
        "signs": ["..." if i % 2 else "!?" for i in range(60)],
    }[words]
    made = np.array(said, dtype=object)
    said_alone = BaselineFeatures(made, made, train.counts, None)
    estimates = predict_baseline(name, said_alone, total, ids(60), train)
    np.testing.assert_allclose(estimates.mean, total.mean())


def test_a_script_without_spaces_serves_the_text_baselines_as_well_as_one_with():
    def without_spaces(made):
        letters = str.maketrans({chr(97 + n): chr(0x4E00 + 37 * n) for n in range(26)} | {" ": ""})
        spoken = np.array([text.translate(letters) for text in made.user_texts], dtype=object)
        return BaselineFeatures(spoken, spoken, made.counts, None)

    (train, total), (test, truth) = readings(), readings(seed=1)
    errors = [
        np.abs(predict_baseline(name, seen(train), total, ids(60), seen(test)).mean - truth).mean()
        for name, seen in (
            ("tf-idf", lambda made: made), ("tf-idf", without_spaces), ("constant", without_spaces)
        )
    ]  # fmt: skip
    assert errors[1] < 1.3 * errors[0] < 0.6 * errors[2]


def test_a_test_text_of_unknown_words_is_estimated():
    train, total = readings()
    strange = np.array(["zzz"] * 60, dtype=object)
    unknown = BaselineFeatures(strange, strange, train.counts, None)
    estimates = predict_baseline("tf-idf", train, total, ids(60), unknown)
    assert np.isfinite(estimates.mean).all()


def noisy(count, seed):
    """Readings whose embeddings say little of the total, in many dimensions."""
    random = np.random.default_rng(seed)
    total = np.clip(np.rint(random.normal(11, 6, count)), 0, 27)
    embeddings = random.normal(size=(count, 40))
    embeddings[:, 0] += total / 6
    text = np.full(count, "hello there", dtype=object)
    counts = np.full((count, 7), np.log1p(80.0))
    return BaselineFeatures(text, text, counts, embeddings), total


@pytest.mark.parametrize("name", ["minilm", "constant"])
def test_the_interval_of_a_baseline_covers_what_it_says_on_new_people(name):
    inside = []
    for seed in range(12):
        train, total = noisy(60, seed)
        test, truth = noisy(150, seed + 1000)
        estimates = predict_baseline(name, train, total, ids(60), test)
        lower, upper = estimates.totals.delivered_interval(estimates.width)
        inside.append(((lower <= truth) & (truth <= upper)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_a_baseline_is_calibrated_on_people_whom_its_inner_fits_never_saw():
    """One person under two ids is one person: else its deviation would be that of known people."""
    train, total = noisy(40, 3)
    twice = train.take(np.tile(np.arange(40), 2))
    person = np.tile(ids(40), 2)
    once = predict_baseline("minilm", train, total, ids(40), train)
    grouped = predict_baseline("minilm", twice, np.tile(total, 2), person, train)
    apart = predict_baseline("minilm", twice, np.tile(total, 2), ids(80), train)

    def width(estimates):
        lower, upper = estimates.totals.delivered_interval(estimates.width)
        return float((upper - lower).mean())

    assert width(grouped) > 0.9 * width(once)
    assert width(apart) < 0.8 * width(grouped)


def test_inner_folds_keep_people_together_and_no_more_than_the_model_is_calibrated_on():
    person = np.repeat(ids(700), 2)
    folds = inner_person_folds(person, 5, seed=1)
    assert (folds[::2] == folds[1::2]).all()
    assert (folds[::2] >= 0).sum() == PEOPLE_FOR_SELECTION
    sizes = np.bincount(folds[::2][folds[::2] >= 0])
    assert (len(sizes), sizes.max() - sizes.min()) == (5, 0)
    assert set(inner_person_folds(np.array(["d", "d", "i"]), 5, seed=0)) == {0, 1}


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


def test_a_baseline_does_not_depend_on_the_order_of_people():
    train, total = noisy(50, 1)
    random = np.random.default_rng(2).permutation(50)
    for name in ("minilm", "constant"):
        one = predict_baseline(name, train, total, ids(50), train)
        other = predict_baseline(name, train.take(random), total[random], ids(50)[random], train)
        np.testing.assert_array_equal(one.mean, other.mean)
        assert one.width == other.width
