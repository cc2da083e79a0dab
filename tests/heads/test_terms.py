"""What is counted as a word, and that counts of turns add up to those of readings."""

from itertools import pairwise

import numpy as np
import pytest

from leadline.heads.terms import COLUMNS, Terms, count_terms, runs, stretches, words_and_pairs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can\u2019t SLEEP... at all!", ["i", "can't", "sleep", "at", "all"]),
        ("मुझे नींद नहीं आती।", ["मुझे", "नींद", "नहीं", "आती"]),
        ("我睡不着\uff0c很累。", ["我", "睡", "不", "着", "很", "累"]),
        ("ok 眠れない", ["ok", "眠", "れ", "な", "い"]),
        ("... !? -", []),
        ("", []),
    ],
)
def test_words_in_any_script(text, words):
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    assert words_and_pairs(text) == words + pairs


def test_stretches_stay_inside_a_word_and_mark_its_ends():
    assert stretches("no go") == [" n", "no", "o ", " no", "no ", " no ",
                                  " g", "go", "o ", " go", "go ", " go "]  # fmt: skip
    assert {len(part) for part in stretches("hopelessness")} == {2, 3, 4, 5}
    assert runs("นอนไม่หลับ") == ["นอนไม่หลับ"]


def test_counts_of_turns_add_up_to_those_of_a_reading():
    said = [["so tired", "tired again", "fine"], ["我睡不着", "tired"]]
    people = tuple(count_terms(texts) for texts in said)
    terms = Terms(people, np.array([(0, 0, 1), (1, 0, 1), (0, 2, 2)]))
    counts = terms.counts()
    for row, (person, first, last) in enumerate(terms.spans):
        expected = people[person][first : last + 1].sum(axis=0)
        np.testing.assert_array_equal(counts[row].toarray(), np.asarray(expected))
    assert counts.has_canonical_format
    both = terms.take(np.array([2])).join(terms.take(np.array([1, 0])))
    np.testing.assert_array_equal(both.counts().toarray(), counts[[2, 1, 0]].toarray())


def test_words_and_characters_lie_apart():
    counts = count_terms(["tired tired", "..."])
    assert counts.shape == (2, 2 * COLUMNS)
    assert counts[0, :COLUMNS].sum() == len(words_and_pairs("tired tired"))
    assert counts[0, COLUMNS:].sum() == len(stretches("tired tired"))
    assert counts[1].nnz == 0
    assert count_terms([]).shape == (0, 2 * COLUMNS)
