"""People whose words are mapped onto a script without spaces are served as well."""

from __future__ import annotations

import argparse

import pytest
from bench.accuracy import spaceless


@pytest.mark.parametrize("characters", [1, 2])
def test_words_are_mapped_one_to_one(characters: int) -> None:
    script = spaceless.Script(characters)
    words = [f"w{number}" for number in range(500)]
    mapped = [script.word(word) for word in words]
    assert len(set(mapped)) == 500
    assert {len(word) for word in mapped} == {characters}
    assert script.text("W1 w2, w1.") == f"{mapped[1]}{mapped[2]},{mapped[1]}."


def test_the_baseline_reads_a_script_without_spaces() -> None:
    # By words between spaces r is about 0 there: every turn is a word of its own.
    results = spaceless.measure(argparse.Namespace(people=120, seed=0))
    assert all(entry["r"] > 0.35 for entry in results["forms"].values())
