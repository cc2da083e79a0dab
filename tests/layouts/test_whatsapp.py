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
ARABIC = (  # digits and marks of direction as an Arabic phone writes them
    "\u0662\u0665\u200f/\u0665\u200f/\u0662\u0660\u0662\u0664\u060c \u0661\u0660:0{} \u0645 - "
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


@pytest.mark.parametrize(
    ("first", "second", "hour"),
    [
        ("5/25/24, 10:00\u202fAM - ", "5/25/24, 10:01\u202fAM - ", 10),
        ("25/5/24, 10:00 p. m. - ", "25/5/24, 10:01 p. m. - ", 22),
        ("25/05/2024 à 10:00 - ", "25/05/2024 à 10:01 - ", 10),
        ("25.5.2024 klo 10.00 - ", "25.5.2024 klo 10.01 - ", 10),
        ("2024-05-25 10:00 - ", "2024-05-25 10:01 - ", 10),
        ("2024년 5월 25일 오후 10:00, ", "2024년 5월 25일 오후 10:01, ", 22),
        ("[2024/5/25 下午10:00:00] ", "[2024/5/25 下午10:01:00] ", 22),
        ("2024年5月25日 10:00 - ", "2024年5月25日 10:01 - ", 10),
        (ARABIC.format(0), ARABIC.format(1), 22),
    ],
)
def test_phones_of_other_languages(tmp_path: Path, first: str, second: str, hour: int) -> None:
    colon = " : " if "년" in first else ": "
    text = f"{first}Anna{colon}low \u0663\n{second}Wysa{colon}Why?\nmore: yes\n"
    cohort = import_beside(write_source(tmp_path, "chat.txt", text), **SETTINGS)
    assert [line[4] for line in turns_of(cohort)] == ["low \u0663", "Why?\nmore: yes"]
    assert cohort.turns["time"][0] == datetime(2024, 5, 25, hour, tzinfo=UTC)


def test_what_the_app_writes_under_a_name_is_not_said(tmp_path: Path) -> None:
    text = (
        "\u200e[25.05.24, 10:00:00] Anna: \u200eMessages and calls are end-to-end encrypted.\n"
        "[25.05.24, 10:00:05] Anna: low \u200e<This message was edited>\n"
        "[25.05.24, 10:01:00] Wysa: \u200eimage omitted\n"
        "[25.05.24, 10:01:10] Wysa: Why? \u200e<Diese Nachricht wurde bearbeitet.>\n"
    )
    cohort = import_beside(write_source(tmp_path, "chat.txt", text), **SETTINGS)
    assert [line[4] for line in turns_of(cohort)] == ["low", "Why?"]
    assert sum(cohort.manifest["import"]["messages"]["left_out_by_rule"].values()) == 2
