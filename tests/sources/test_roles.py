"""Speakers to roles: what is known, what is said, what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.sources.config import ROLES, ImportConfig
from leadline.sources.roles import KNOWN, roles_of

FILE = Path("a.csv")


def column(speakers: list[str], **settings: object) -> list[str]:
    roles = roles_of(ImportConfig(**settings))  # type: ignore[arg-type]
    codes = roles.column(pl.Series(speakers), pl.Series(range(1, len(speakers) + 1)), FILE)
    return [ROLES[code] for code in codes]


@given(st.sampled_from(sorted(KNOWN)), st.sampled_from([str.upper, str.title, str.lower]))
def test_known_words_in_any_case(word: str, case: object) -> None:
    assert column([f" {case(word)} "]) == [KNOWN[word]]  # type: ignore[operator]


def test_what_is_said_goes_before_what_is_known() -> None:
    assert column(["user", "bot", "x"], role=("user=clinician", "x=user")) == [
        "clinician", "assistant", "user"
    ]  # fmt: skip
    assert column(["a=b"], role=("a=b=user",)) == ["user"]


def test_with_a_person_role_no_other_word_is_the_person() -> None:
    with pytest.raises(LeadlineError, match="'user'") as caught:
        column(["patient", "user"], person_role="patient")
    assert caught.value.row == 2
    assert "--role user=assistant" in caught.value.remedy
    assert column(["client"], person_role="client") == ["user"]


def test_a_name_is_not_quoted() -> None:
    with pytest.raises(LeadlineError) as caught:
        column(["user", "Miriam Example"])
    assert "miriam" not in str(caught.value).lower()
    assert "--person-role SPEAKER" in caught.value.remedy


def test_two_words_for_the_person_across_batches() -> None:
    roles = roles_of(ImportConfig())
    roles.column(pl.Series(["user"]), pl.Series([1]), FILE)
    with pytest.raises(LeadlineError, match="client, user"):
        roles.column(pl.Series(["client"]), pl.Series([9]), FILE)


def test_counts_and_completeness() -> None:
    roles = roles_of(ImportConfig())
    with pytest.raises(LeadlineError, match="No turn"):
        roles.check_complete(FILE)
    roles.column(pl.Series(["user"] * 9 + ["system"]), pl.Series(range(10)), FILE)
    assert roles.counts == {"user": 9, "system": 1}
    roles.check_complete(FILE)
    roles.column(pl.Series(["system"] * 9), pl.Series(range(9)), FILE)
    with pytest.raises(LeadlineError, match="chatbot"):
        roles.check_complete(FILE)
    roles.column(pl.Series(["bot"]), pl.Series([1]), FILE)
    roles.check_complete(FILE)


def test_a_system_that_is_said_to_be_one_is_accepted() -> None:
    roles = roles_of(ImportConfig(role=("system=system",)))
    roles.column(pl.Series(["user", "system"]), pl.Series([1, 2]), FILE)
    roles.check_complete(FILE)
