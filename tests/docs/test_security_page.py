"""Each promise of docs/security.md names tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.support import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> dict[str, list[tuple[str, str]]]:
    """Promise -> the tests that hold it, as file and name."""
    section = PAGE.split("## What is promised", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): TEST.findall(row[1]) for row in rows[2:]}


@cache
def names_in(file: Path) -> frozenset[str]:
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("promise", promises())
def test_the_tests_of_a_promise_are_there(promise: str) -> None:
    tests = promises()[promise]
    assert tests, "a promise that nothing holds"
    absent = [test for test in tests if test[1] not in names_in(ROOT / test[0])]
    assert absent == []


def test_the_page_has_promises_and_names_no_test_elsewhere_that_is_not_there() -> None:
    assert len(promises()) > 10
    assert all(name in names_in(ROOT / file) for file, name in TEST.findall(PAGE))
    assert PAGE.count("::") == len(TEST.findall(PAGE)), "a test that is written otherwise"


def test_the_page_is_linked_from_where_people_look() -> None:
    for page in ("README.md", "docs/privacy.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert re.search(r"\]\((?:docs/)?security\.md\)", text), page
