"""What is told by speakers and words alone, in any layout."""

from __future__ import annotations

from pathlib import Path

from tests.support.imports import import_beside, words_of, write_source

from leadline.cohort.store import Cohort
from leadline.layouts.unsaid import DELETED, INLINE_CUT, REASONING, TOOLS

TABLE = (
    "person_id,role,text\n"
    "p,user,low\n"
    "p,tool,TOOL\n"
    "p,user,[deleted]\n"
    "p,assistant,<think>SECRET</think>why?\n"
    "p,assistant,SECRET</think> And then?\n"
    "p,assistant,<think>SECRET</think>\n"
    "p,user,<think>I typed this</think>\n"
)


def left_out(cohort: Cohort) -> dict[str, int]:
    return dict(cohort.manifest["import"]["messages"]["left_out_by_rule"])


def test_what_a_table_holds_and_nobody_said(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "t.csv", TABLE))
    assert words_of(cohort) == [
        ("p", "user", "low"), ("p", "assistant", "why?"), ("p", "assistant", "And then?"),
        ("p", "user", "<think>I typed this</think>"),
    ]  # fmt: skip
    assert left_out(cohort) == {TOOLS: 1, DELETED: 1, REASONING: 1}
    assert cohort.manifest["import"]["transformations"][INLINE_CUT] == 2


def test_a_tool_that_is_named_stays(tmp_path: Path) -> None:
    cohort = import_beside(write_source(tmp_path, "t.csv", TABLE), role=("tool=system",))
    assert ("p", "system", "TOOL") in words_of(cohort)
    assert TOOLS not in left_out(cohort)


def test_dialogues_in_cells_lose_reasoning_too(tmp_path: Path) -> None:
    table = 'pid,log\np,"User: low.\nBot: <think>SECRET</think> why?"\n'
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert [text for _, _, text in words_of(cohort)] == ["low.", "why?"]
