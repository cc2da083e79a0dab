"""Items by their words, answers in words and digits."""

from __future__ import annotations

import pytest

from leadline.phq9.wordings import wordings
from leadline.questionnaires.answers import answer, items_of, likely_item, number, official_item

LINKS = ("LittleInterest", "FeelingDown", "TroubleSleeping", "FeelingTired", "BadAppetite",
         "FeelingBadAboutSelf", "TroubleConcentrating", "MovingSpeaking", "Suicidal")  # fmt: skip


@pytest.mark.parametrize("language", sorted(wordings()))
def test_every_official_item_is_known_also_by_its_beginning(language: str) -> None:
    for place, variants in enumerate(wordings()[language].items):
        assert official_item(variants[0]) == place
        assert official_item(f"{place + 1}. {variants[0]}") == place
        if len(variants[0]) > 40:
            assert official_item(variants[0][:30]) in (place, None)


def test_names_that_programs_give() -> None:
    assert [likely_item(link) for link in LINKS] == list(range(9))
    assert likely_item("Difficulty") is None
    assert likely_item("sleep_and_appetite") is None


def test_a_set_of_names_is_a_phq_only_if_nearly_all_are_there() -> None:
    assert items_of(LINKS) == dict(enumerate(LINKS))
    assert items_of(LINKS[:5]) == {}
    assert items_of(["phq1", "phq2"]) == {0: "phq1"}
    series = [f"phq{n}" for n in range(1, 10)]
    assert items_of(series) == dict(enumerate(series))


@pytest.mark.parametrize(
    "pattern", ["dep_phq9_{:02d}", "PHQ9.{}", "base phq-9 q{}", "phq9_{}", "answers.{}", "PHQ-{}"]
)
def test_series_of_any_writing(pattern: str) -> None:
    names = [pattern.format(number) for number in range(1, 11)]
    assert items_of(["id", *names, "gad7_1", "total"]) == dict(enumerate(names[:9]))


@pytest.mark.parametrize("pattern", ["phq9{}", "PHQ9_1{}", "phq-9 {}"])
def test_items_by_letters(pattern: str) -> None:
    names = [pattern.format(letter) for letter in "abcdefghi"]
    assert items_of(["id", *names]) == dict(enumerate(names))
    assert items_of(names[:5]) == {}


def test_items_of_limesurvey() -> None:
    names = [f"PHQ9[SQ00{number}]" for number in range(1, 10)]
    assert items_of(["id", *names]) == dict(enumerate(names))


def test_items_of_nhanes() -> None:
    names = [f"DPQ0{number}0" for number in range(1, 10)]
    assert items_of(["SEQN", *names, "DPQ100"]) == dict(enumerate(names))


@pytest.mark.parametrize(
    ("value", "worth"),
    [("Several days", 1), ("Several days (1)", 1), ("2 = More than half the days", 2), ("3", 3),
     ("Beinahe jeden Tag", 3), ("Casi todos los días", 3), ("完全不会", 0), (2.0, 2.0), ("", None),
     ("Prefer not to answer", None), ("often", "often"), ("14 / 27", 14), ("14,5", 14.5)],
)  # fmt: skip
def test_answers(value: object, worth: object) -> None:
    assert answer(value) == worth


def test_codes_that_mean_no_answer() -> None:
    assert number("-9", ("-9",)) is None
    assert number(999, ("999",)) is None
    assert number("-9") == -9


def test_words_behind_a_number_that_counts_from_1() -> None:
    assert answer("1 - Not at all") == 0
    assert answer("4 = Nearly every day") == 3
    assert answer("2: Several days") == 1
    assert answer("4 - Several days") == "4 - Several days"  # a contradiction is refused
