"""A bound name is a noun of the domain: filler words stand outside a list that only shrinks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "leadline"

FILLERS = frozenset(
    ("mine", "own", "some", "found", "given", "said", "told", "held", "kept", "left", "wanted",
     "whole", "one", "other", "few", "more", "about", "plain", "made", "done", "shown", "known",
     "fresh", "taken", "asked", "seen", "due")
)  # fmt: skip

ALLOWED: frozenset[tuple[str, str]] = frozenset()  # (file, word); take out what is not needed


def bound_names(tree: ast.AST) -> Iterator[str | None]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
                yield name
            case ast.MatchMapping(rest=name) | ast.alias(asname=name):
                yield name


def fillers() -> set[tuple[str, str]]:
    return {
        (path.relative_to(SRC).as_posix(), name)
        for path in SRC.rglob("*.py")
        for name in bound_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in FILLERS
    }


def test_no_filler_is_bound_and_the_lists_only_shrink() -> None:
    offences = fillers()
    assert sorted(offences - ALLOWED) == []
    assert sorted(ALLOWED - offences) == [], "take out what is not needed any more"


@pytest.mark.parametrize(
    "code",
    [
        "found: int = 1",
        "for one in []: pass",
        "def f(x, *, given=1): pass",
        "lambda *more: 1",
        "[kept for kept in []]",
        "with open('') as held: pass",
        "(taken := 1)",
        "try: pass\nexcept OSError as seen: pass",
        "match 1:\n    case [*left]: pass",
        "match 1:\n    case int() as known: pass",
        "match 1:\n    case {**own}: pass",
        "import os as other",
    ],
)
def test_every_kind_of_binding_counts(code: str) -> None:
    assert FILLERS & set(bound_names(ast.parse(code)))
