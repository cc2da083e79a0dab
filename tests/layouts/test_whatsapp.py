"""WhatsApp's text export on both kinds of phone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.imports import import_beside, turns_of, write_source

from leadline.errors import LeadlineError

ANDROID = (
    "25/05/2024, 09:58 - Messages and calls are end-to-end encrypted.\n"
    "25/05/2024, 10:00 - Anna: low today\nand tired: very\n"
    "25/05/2024, 10:01 - Wysa: Why?\n"
    "26/05/2024, 10:02 - Anna: <Media omitted>\n"
)
IPHONE = (
    "[25.05.24, 10:00:00] Anna: low today\n"
    "\u200e[25.05.24, 10:01:00] Wysa: \u200eimage omitted\n"
    "[25.05.24, 10:02:00] Wysa: Why?\n"
)
SETTINGS = {"person_role": "Anna", "role": ("Wysa=assistant",), "timezone": "UTC"}


def test_android(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "chat.txt", ANDROID), **SETTINGS)
    assert turns_of(cohort) == [
        ("Anna", "chat", 0, "user", "low today\nand tired: very"),
        ("Anna", "chat", 1, "assistant", "Why?"),
    ]
    assert cohort.turns["time"][0] == datetime(2024, 5, 25, 10, tzinfo=UTC)
    assert cohort.manifest["import"]["messages"]["read"] == 4


def test_iphone(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "chat.txt", IPHONE), **SETTINGS)
    assert [line[4] for line in turns_of(cohort)] == ["low today", "Why?"]


def test_days_that_could_be_months_are_asked_about(tmp_path: Path) -> None:
    source = write_source(tmp_path, "chat.txt", ANDROID.replace("25/", "05/").replace("26/", "06/"))
    with pytest.raises(LeadlineError, match="two days") as caught:
        import_beside(source, **SETTINGS)
    assert "--date-order" in caught.value.remedy
    cohort = import_beside(source, **SETTINGS, date_order="mdy")
    assert cohort.turns["time"][0] == datetime(2024, 5, 5, 10, tzinfo=UTC)


def test_two_people_are_asked_about_without_their_names(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="2 authors") as caught:
        import_beside(write_source(tmp_path, "chat.txt", ANDROID), timezone="UTC")
    assert "Anna" not in str(caught.value)
