"""Real data, where it is: only counts are looked at, never a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import ROOT
from tests.support.imports import import_cohort

from leadline.cohort.inspect import inspect_cohort
from leadline.sources.config import ImportConfig

FOLDERS = (ROOT.parent / "shared" / "data", ROOT / "shared" / "data")
DATA = next((folder for folder in FOLDERS if folder.is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="no measuring data in ../shared/data")


def data(name: str) -> Path:
    assert DATA is not None
    return DATA / name


def test_check_ins(tmp_path: Path) -> None:
    settings = ImportConfig(mapping=ROOT / "docs" / "examples" / "checkin.toml")
    cohort = import_cohort(data("checkin_phq9/people.csv"), settings, tmp_path / "c")
    assert cohort.turns.height == 200 * 12
    assert cohort.turns["role"].to_list() == ["assistant", "user"] * 1200
    assert cohort.turns["turn"].to_list() == list(range(12)) * 200
    assert cohort.phq9.height == cohort.people.height == 200
    assert round(cohort.phq9["total"].to_numpy().mean(), 1) == 11.4
    assert cohort.people.columns == ["person_id", "locked", "gender", "age"]
    found = inspect_cohort(cohort)
    assert found["gaps"]["labels_without_text_in_window"] == 0
    assert found["questionnaire"]["spans"] == 0


def test_real_chats(tmp_path: Path) -> None:
    settings = ImportConfig(one_person_per_conversation=True)
    cohort = import_cohort(data("real_chats/chats.jsonl"), settings, tmp_path / "c")
    assert cohort.people.height == 58
    assert cohort.manifest["roles"] == {"user": 706, "assistant": 706}
    assert inspect_cohort(cohort)["questionnaire"]["spans"] == 0


def test_support_dialogues(tmp_path: Path) -> None:
    settings = ImportConfig(
        one_person_per_conversation=True, person_role="usr", role=("sys=assistant",)
    )
    cohort = import_cohort(data("support_dialogues/dialogues.jsonl"), settings, tmp_path / "c")
    assert cohort.people.height == 195
    assert cohort.manifest["roles"] == {"user": 2210, "assistant": 2257}
    assert inspect_cohort(cohort)["questionnaire"]["spans"] == 0
