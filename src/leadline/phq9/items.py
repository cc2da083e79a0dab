"""The nine items, their order, their LOINC codes and the severity bands.

Source: Kroenke, Spitzer and Williams 2001 for items and bands; the LOINC panel 44249-1 for
codes. The codes are not in the order of the items: 44260-8 is item 9, and the total is
44261-6, which LOINC defines as *reported* by the person, so an estimate never goes out
under it.
"""

from __future__ import annotations

from typing import Final

INSTRUMENTS = ("phq9", "phq8", "phq2")

ITEM_COLUMNS = tuple(f"item_{number}" for number in range(1, 10))

TOTALS = 28  # the totals 0..27

MODERATE = 10  # the usual screening cut, where the band "moderate" begins

CUTS = (5, 10, 15, 20)  # of the P(>= k) columns of `estimates`

ITEMS: Final = (
    "anhedonia",
    "low mood",
    "sleep",
    "fatigue",
    "appetite",
    "worthlessness",
    "concentration",
    "psychomotor",
    "self-harm",
)

SELF_HARM: Final = 8  # position of item 9, which is never imputed

ITEM_COUNTS: Final = {"phq9": 9, "phq8": 8, "phq2": 2}

MAX_TOTALS: Final = {"phq9": 27, "phq8": 24, "phq2": 6}

MAX_MISSING: Final = {"phq9": 2, "phq8": 2, "phq2": 0}

LOINC_PANEL: Final = "44249-1"

LOINC_TOTAL: Final = "44261-6"

LOINC_PHQ2_TOTAL: Final = "55758-7"

LOINC_ITEMS: Final = (
    "44250-9",
    "44255-8",
    "44259-0",
    "44254-1",
    "44251-7",
    "44258-2",
    "44252-5",
    "44253-3",
    "44260-8",
)

LOINC_ANSWERS: Final = {"LA6568-5": 0, "LA6569-3": 1, "LA6570-1": 2, "LA6571-9": 3}

BANDS: Final = (
    ("minimal", 0, 4),
    ("mild", 5, 9),
    ("moderate", 10, 14),
    ("moderately severe", 15, 19),
    ("severe", 20, 27),
)
