"""The text bank: enough of it, honest tables, and readable text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from leadline.simulate.item_response import ANSWER_LEVELS
from leadline.simulate.phrase_bank import BARE, FIRST, assistant, extras, load_bank

BANK = load_bank(held_out=0.3, ambiguity=0.15)


def test_there_are_well_over_several_hundred_templates() -> None:
    assert len(BANK.text) > 1000
    assert len(set(BANK.text)) == len(BANK.text)
    assert 0.25 < BANK.is_held_out.mean() < 0.35


def test_templates_of_every_cell_sum_to_one_at_every_level_in_both_halves() -> None:
    for form in np.unique(BANK.form):
        for topic in np.unique(BANK.topic[form == BANK.form]):
            cell = (BANK.form == form) & (BANK.topic == topic)
            assert BANK.share[:, cell].sum(axis=1) == pytest.approx(np.ones((2, ANSWER_LEVELS)))


def test_every_template_occurs_at_two_levels_or_more() -> None:
    assert ((BANK.share > 0).any(axis=0).sum(axis=1) >= 2).all()


def test_halves_do_not_share_templates_unless_nothing_is_held_out() -> None:
    used = BANK.share.sum(axis=2) > 0
    assert not (used[0] & used[1]).any()
    whole = load_bank(held_out=0.0, ambiguity=0.15)
    assert (whole.share.sum(axis=2) > 0).all()
    assert not whole.is_held_out.any()


def test_bare_templates_have_no_first_person() -> None:
    first = re.compile(r"\b(I|I'm|I've|I'd|my|me|mine|myself)\b")
    for text, form in zip(BANK.text, BANK.form, strict=True):
        if form == BARE:
            assert not first.search(text), text
        if form == FIRST:
            assert re.search(r"\b(I|My|my|me)\b", text), text


def test_every_slot_has_values_and_every_occasion_has_lines() -> None:
    slots = extras()["slots"]
    named = {name for text in BANK.text for name in re.findall(r"\{(\w+)\}", text)}
    assert named <= set(slots)
    lines = assistant()
    assert all(lines[f"ask_{item + 1}"] and lines[f"about_{item + 1}"] for item in range(9))
