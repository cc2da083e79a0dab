"""One person under two ids is found, edited, cut or reordered; people who speak alike are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import ROOT
from tests.support.cohorts import SMALL, cohort_of, turn_rows
from tests.support.copies import AGAIN, edited, with_copies

from leadline.cohort import near_copies as module
from leadline.cohort.near_copies import CACHE, cohort_copies, group_counts, near_copies
from leadline.cohort.store import Cohort, read_cohort
from leadline.simulate.cohort import simulate_cohort

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("n", "rt", "st", "ll")]
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 800)]
THAI = [chr(code) for code in range(0x0E01, 0x0E2F)]
CHATS = Path("shared", "data", "real_chats", "chats.jsonl")
REAL_CHATS = [file for file in (ROOT.parent / CHATS, ROOT / CHATS) if file.is_file()]


def speech(draw: random.Random, turns: int, words: int = 12) -> list[str]:
    """What somebody says: words at random."""
    return [" ".join(draw.choices(VOCABULARY, k=words)) for _ in range(turns)]


def turns_of(texts: dict[str, list[str]]) -> pl.DataFrame:
    """The turns of people who say `texts`."""
    rows = [
        (name, "c", i, "user", text, None)
        for name, spoken in texts.items()
        for i, text in enumerate(spoken)
    ]
    return cohort_of(rows, []).turns


def strangers(count: int = 30, turns: int = 8, seed: int = 1) -> dict[str, list[str]]:
    draw = random.Random(seed)
    return {f"p{number:02d}": speech(draw, turns) for number in range(count)}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Cohort:
    return simulate_cohort(tmp_path_factory.mktemp("copies") / "cohort", SMALL)


def copies_of(texts: list[str], kind: str) -> list[str]:
    draw = random.Random(3)
    match kind:
        case "exact":
            return texts
        case "a tenth of the words changed":
            return [edited(text, 0.1, draw) for text in texts]
        case "the second half alone, a tenth changed":
            return [edited(text, 0.1, draw) for text in texts[len(texts) // 2 :]]
        case "turns joined":
            return [" ".join(texts)]
        case "in another order":
            return draw.sample(texts, len(texts))
        case _:
            return [text.upper().replace(" ", ",  ") for text in texts]


@pytest.mark.parametrize(
    "kind",
    [
        "exact",
        "a tenth of the words changed",
        "the second half alone, a tenth changed",
        "turns joined",
        "in another order",
        "capitals and commas",
    ],
)
def test_a_copy_is_found(kind):
    people = strangers(turns=16)
    people["copy"] = copies_of(people["p07"], kind)
    assert near_copies(turns_of(people)) == {"p07": "p07", "copy": "p07"}


def test_copies_of_copies_are_one_group_and_counts_say_so():
    people = strangers()
    people |= {
        f"copy {n}": [edited(t, 0.05, random.Random(n)) for t in people["p01"]] for n in "ab"
    }
    people["twin"] = people["p02"]
    groups = near_copies(turns_of(people))
    assert groups == {"p01": "p01", "copy a": "p01", "copy b": "p01", "p02": "p02", "twin": "p02"}
    assert group_counts(groups) == {"people": 5, "groups": 2, "largest": 3}
    assert group_counts({}) == {"people": 0, "groups": 0, "largest": 0}


def test_one_text_under_many_ids_is_not_taken_for_a_phrase_of_the_day():
    people = strangers(60)
    people |= {f"copy {number}": people["p00"] for number in range(40)}
    assert len(near_copies(turns_of(people))) == 41


def test_a_single_message_is_compared_by_its_words():
    draw = random.Random(2)
    people = {name: speech(draw, 1, words=30) for name in strangers()}
    people["copy"] = [edited(people["p03"][0], 0.05, draw)]
    assert near_copies(turns_of(people)) == {"p03": "p03", "copy": "p03"}


@pytest.mark.parametrize("letters", [HAN, THAI])
def test_scripts_without_spaces(letters):
    draw = random.Random(4)

    def sentence() -> str:
        return "".join(draw.choices(letters, k=40))

    people = {f"p{number}": [sentence() for _ in range(8)] for number in range(20)}
    changed = ["".join(c if draw.random() > 0.05 else letters[0] for c in t) for t in people["p5"]]
    people["copy"] = changed[2:]
    assert near_copies(turns_of(people)) == {"p5": "p5", "copy": "p5"}


def test_what_many_say_is_no_evidence():
    draw = random.Random(6)
    prompt, greeting = " ".join(speech(draw, 10)), "hello I would like to talk about my week please"
    people = {
        name: [greeting, prompt, *spoken, "thank you that was good to talk about today"]
        for name, spoken in strangers(turns=3).items()
    }
    assert near_copies(turns_of(people)) == {}


def test_what_the_assistant_says_is_no_evidence():
    script = speech(random.Random(7), 30, words=20)
    rows = []
    for name, spoken in strangers(count=5, turns=4).items():
        rows += turn_rows(name, [("user", 0)] * 4)
        rows[-4:] = [(*row[:4], text, row[5]) for row, text in zip(rows[-4:], spoken, strict=True)]
        rows += [(name, "c", 10 + i, "assistant", text, None) for i, text in enumerate(script)]
    assert near_copies(cohort_of(rows, []).turns) == {}


def test_people_who_use_the_same_sentences_in_another_order_are_strangers():
    draw = random.Random(8)
    sentences = speech(draw, 60)
    people = {f"p{number:02d}": draw.sample(sentences, 12) for number in range(30)}
    assert near_copies(turns_of(people)) == {}


def test_simulated_people_share_templates_and_are_not_copies(simulated):
    assert simulated.copy_groups == {}


def test_edited_copies_of_simulated_people_are_found_and_nobody_else(simulated):
    doubled = list(simulated.people["person_id"])[::3]
    groups = with_copies(simulated, doubled).copy_groups
    pairs = {name for name in doubled if groups.get(name) == groups.get(name + AGAIN) == name}
    assert len(pairs) >= 0.9 * len(doubled)
    assert len(groups) == 2 * len(pairs)


def test_a_conversation_of_two_people_makes_them_copies():
    draw = random.Random(9)
    people = strangers(turns=60)
    people["p01"][10:22] = people["p02"][30:42] = speech(draw, 12)
    assert set(near_copies(turns_of(people))) == {"p01", "p02"}


@given(st.lists(st.lists(st.text(max_size=30), max_size=4), max_size=6), st.integers(0, 2))
def test_any_text_has_an_answer(texts, seed):
    people = {f"p{number}": spoken for number, spoken in enumerate(texts)}
    groups = near_copies(turns_of(people))
    assert all(groups[group] == group for group in groups.values())


def test_passes_and_blocks_change_nothing(monkeypatch, simulated):
    doubled = with_copies(simulated, simulated.people["person_id"][:9].to_list())
    whole = near_copies(doubled.turns)
    monkeypatch.setattr(module, "PASS_SHINGLES", 700)
    monkeypatch.setattr(module, "BLOCK_TURNS", 40)
    assert near_copies(doubled.turns) == whole
    assert whole


def test_copies_of_a_large_cohort_are_found_once(monkeypatch, simulated, tmp_path):
    assert not (simulated.path / CACHE).exists(), "a small one is searched each time"
    monkeypatch.setattr(module, "CACHE_TURNS", 10)
    turns = with_copies(simulated, simulated.people["person_id"][:5].to_list()).turns
    groups = cohort_copies(turns, tmp_path)
    assert len(groups) == 10
    calls = []
    monkeypatch.setattr(module, "near_copies", lambda turns: calls.append(turns.height) or {})
    assert cohort_copies(turns, tmp_path) == groups
    assert calls == []
    assert cohort_copies(turns[:-1], tmp_path) == {}, "other turns"
    monkeypatch.setattr(module, "code_version", lambda: "0.0.9+another")
    assert cohort_copies(turns[:-1], tmp_path) == {}
    assert calls == [turns.height - 1] * 2
    (tmp_path / CACHE).write_bytes(b"damaged")
    assert cohort_copies(turns, tmp_path / "nowhere") == {}
    assert cohort_copies(turns, tmp_path) == {}


def test_the_cache_is_no_part_of_the_cohort(monkeypatch, simulated):
    monkeypatch.setattr(module, "CACHE_TURNS", 10)
    assert read_cohort(simulated.path).copy_groups == {}
    assert (simulated.path / CACHE).exists()
    assert read_cohort(simulated.path).copy_groups == {}
    (simulated.path / CACHE).unlink()


@pytest.mark.skipif(not REAL_CHATS, reason="no measuring data in ../shared/data")
def test_real_conversations_that_are_in_the_corpus_twice():
    talks = [json.loads(line) for line in REAL_CHATS[0].read_text(encoding="utf-8").splitlines()]
    people = {
        talk["dialogue_id"]: [turn["content"] for turn in talk["turns"] if turn["role"] == "user"]
        for talk in talks
    }
    groups = near_copies(turns_of(people))
    same = {name for name in people if list(people.values()).count(people[name]) > 1}
    assert len(same) == 6
    assert set(groups) == same


FORGED = {
    "nobody": lambda table: table.clear(),
    "one less": lambda table: table[1:],
    "other groups": lambda table: table.with_columns(group=pl.col("person_id")),
    "another table": lambda table: table.with_columns(more=pl.lit(1)),
    "numbers": lambda table: table.with_columns(group=pl.lit(1)),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_cache_that_was_changed_is_not_believed(tmp_path, monkeypatch, simulated, how):
    monkeypatch.setattr(module, "CACHE_TURNS", 1)
    turns = with_copies(simulated, simulated.people["person_id"][:5].to_list()).turns
    groups = cohort_copies(turns, tmp_path)
    assert groups
    file = tmp_path / CACHE
    metadata = {name: text for name, text in pl.read_parquet_metadata(file).items()
                if name != "ARROW:schema"}  # fmt: skip
    FORGED[how](pl.read_parquet(file)).write_parquet(file, metadata=metadata)
    assert cohort_copies(turns, tmp_path) == groups
    assert cohort_copies(turns, tmp_path) == groups
