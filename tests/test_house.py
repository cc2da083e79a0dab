"""The contract of the house: every module has its tests, and a class name stands in one place."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from tests.support import ROOT

import leadline

SOURCE = Path(leadline.__file__).parent
TESTS = ROOT / "tests"

WITHOUT = {
    "arrays.py": "names of kinds of arrays; mypy is its test",
    "heads/config.py": "names of heads and pools; cli/test_flags.py meets each of them",
    "sources/label.py": "seven fields without a method; every reader of labels goes through it",
    "store/migrations/env.py": "how Alembic runs; store/test_migrate.py goes through it",
    "store/migrations/versions/0001_the_first_tables_of_a_store.py": "store/test_migrate.py "
    "holds it against the schema",
    "sources/source.py": "four fields without a method; every importer's test goes through it",
}
"""Modules that have no test file of their own, each with the reason."""


def modules() -> list[str]:
    """Every module by its path below `leadline`, without those that only open a package."""
    found = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return sorted(str(path) for path in found if path.name != "__init__.py")


def file_of_tests(module: str) -> Path:
    path = Path(module)
    return TESTS / path.parent / f"test_{path.stem}.py"


@pytest.mark.parametrize("module", modules())
def test_each_module_has_a_test_file_or_a_reason(module: str) -> None:
    there = file_of_tests(module).is_file()
    assert there or module in WITHOUT, f"{module} has no {file_of_tests(module).relative_to(ROOT)}"
    assert not (there and module in WITHOUT), f"{module} has tests now: take it off the list"


def test_the_list_of_reasons_names_modules_that_there_are() -> None:
    assert set(WITHOUT) <= set(modules())
    assert all(reason.strip() for reason in WITHOUT.values())


def test_a_test_file_stands_where_its_module_stands_or_tests_several() -> None:
    """A file with a room's name in its path is about a module of that room."""
    several = {
        "cli": {"kills", "monitor_failures", "selftrain"},
        "heads": {"laws"},
        "importing": {
            "bad_input", "bombs", "field", "fuzz", "grammar", "laws", "quotes", "real_corpora",
            "speed",
        },
        "monitor": {"kills"},
        "readers": {"laws"},
        "selftrain": {"adapted_weights"},
        "service": {"kills", "secrecy"},
        "store": {"machine"},
    }  # fmt: skip
    rooms = {path.parent.name for path in SOURCE.rglob("*.py")} - {SOURCE.name}
    for path in TESTS.rglob("test_*.py"):
        room = path.parent.name
        if room in rooms and path.stem.removeprefix("test_") not in several.get(room, set()):
            module = SOURCE / room / f"{path.stem.removeprefix('test_')}.py"
            assert module.is_file(), f"{path.relative_to(ROOT)} is about no module"


def public_classes() -> dict[str, list[str]]:
    """Modules that define a public class, by the name of the class."""
    found = defaultdict(list)
    for module in modules():
        for node in ast.parse((SOURCE / module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return found


def test_no_public_class_name_stands_in_two_modules() -> None:
    twice = {name: where for name, where in public_classes().items() if len(where) > 1}
    assert not twice
    assert len(public_classes()) > 100


def test_no_test_has_the_name_of_another_in_its_file() -> None:
    """The second would silently take the place of the first."""
    for path in TESTS.rglob("*.py"):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        twice = {name for name in names if names.count(name) > 1}
        assert not twice, f"{path.relative_to(ROOT)}: {twice}"
