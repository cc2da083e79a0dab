"""Codes, bands and totals of the instruments."""

from __future__ import annotations

import itertools

from leadline.phq9.items import BANDS, LOINC_ITEMS, LOINC_TOTAL


def test_codes_are_distinct() -> None:
    assert len({*LOINC_ITEMS, LOINC_TOTAL}) == 10
    assert LOINC_ITEMS[8] == "44260-8"


def test_every_pair_of_bands_is_in_order() -> None:
    for (_, _, high), (_, low, _) in itertools.pairwise(BANDS):
        assert low == high + 1
