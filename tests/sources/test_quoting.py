"""Names out of a file that a message may show, and those that it only points at."""

from __future__ import annotations

import tomllib

import pytest

from leadline.layouts.long_table import COLUMN_NAMES
from leadline.sources.quoting import is_sayable, listed, sayable, toml_place


@pytest.mark.parametrize(
    "name",
    ["person_id", "createdAt", "phq9_total", "PHQ-9", "phq9_1", "item_3", "Q7", "week 4", "Fecha",
     "assessed at", "user.id", "messages", "visit_2", "date_of_birth"],
)  # fmt: skip
def test_names_of_columns_and_keys_are_shown(name: str) -> None:
    assert is_sayable(name)
    assert sayable(name) == name


@pytest.mark.parametrize(
    "name",
    ["hopeless", "so tired", "P017", "p1", "1234567", "7", "2024-05-01", "ann@example.org", "",
     "Ann Lee", "user_ann_text", "death", "message to Peter", "total 1234567", "T" * 41,
     "date time day time date time", "\ud800"],
)  # fmt: skip
def test_what_could_be_a_persons_is_not_shown(name: str) -> None:
    assert not is_sayable(name)
    assert sayable(name) == "NAME"


def test_every_usual_name_is_shown() -> None:
    assert all(is_sayable(name) for usual in COLUMN_NAMES.values() for name in usual)


def test_others_are_pointed_at_by_their_place_among_all() -> None:
    header = ["person_id", "so tired", "text", "ann"]
    assert listed(header) == "person_id, column 2, text, column 4"
    assert listed(["ann", "text"], header) == "column 4, text"
    assert listed(["elsewhere"], header) == "a column"
    assert listed({"a b": 1, "role": 2}, what="key") == "key 1, role"
    assert listed(["text"] * 2, most=1) == "text, and 1 more"


@pytest.mark.parametrize("text", ["x = {kanarie = 1, kanarie = 2}", "[kanarie]\n[kanarie]", "a ="])
def test_toml_is_told_by_its_place_alone(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    place = toml_place(caught.value)
    assert "kanarie" not in place
    assert "line" in place or "end of document" in place
