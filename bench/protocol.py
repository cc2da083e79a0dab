"""What a bench is, and how one is listed and run.

A bench is a module of a shelf, `bench/SHELF/NAME.py`, and its name is `SHELF.NAME`. The shelves
are what it is about and what it takes to run. Its docstring says what is measured; it has

- `TAKES`: what it needs and about how long it runs;
- `RESULT`: its file in `bench/results`, None where it is only printed; a function `result(args)`
  instead, where that depends on the flags;
- `options(parser)`: its flags, if it has any;
- `measure(args)`: the measurement, which is what that file will hold;
- `rows(results)`: each figure in words, beside the code that measured it. Documents print these
  (`bench/tables`); a row of a table with several columns has ` | ` between its cells.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Protocol, cast

from bench.common import ROOT, run_facts, save

SHELVES = ("accuracy", "selftraining", "simulator", "speed", "parity", "gpu")
CALL = ("python", "-m", "bench", "run")


class Bench(Protocol):
    """A module that measures something."""

    TAKES: str
    RESULT: str | None

    def measure(self, args: argparse.Namespace) -> dict[str, Any]:
        """Measure; `args.command` is what a result file that is written meanwhile records."""

    def rows(self, results: dict[str, Any]) -> list[tuple[str, str]]:
        """What was measured, and the figure."""


def bench_names() -> list[str]:
    """Every bench, shelf by shelf."""
    folders = [(shelf, ROOT / "bench" / shelf) for shelf in SHELVES]
    return [
        f"{shelf}.{file.stem}"
        for shelf, folder in folders
        for file in sorted(folder.glob("[!_]*.py"))
    ]


def describe(name: str) -> tuple[str, str]:
    """What a bench measures and what it takes, without importing what it needs."""
    file = ROOT / "bench" / f"{name.replace('.', '/')}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    what = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TAKES":
            return what, str(ast.literal_eval(node.value))
    return what, ""


def load_bench(name: str) -> Bench:
    """Import a bench. Exits with the list of names where there is none of this name."""
    if name not in bench_names():
        sys.exit(f"There is no bench {name!r}; these are: {', '.join(bench_names())}")
    return cast(Bench, importlib.import_module(f"bench.{name}"))


def run_bench(name: str, words: list[str]) -> dict[str, Any]:
    """Measure, save, print: the results as JSON, and their rows to the error stream."""
    bench = load_bench(name)
    parser = argparse.ArgumentParser(
        prog=" ".join([*CALL, name]),
        description=sys.modules[f"bench.{name}"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if hasattr(bench, "options"):
        bench.options(parser)
    args = parser.parse_args(words)
    args.command = call_of(name, words, args)
    results = bench.measure(args)
    file = bench.result(args) if hasattr(bench, "result") else bench.RESULT
    results = save(file, results, args.command) if file else {**run_facts(args.command), **results}
    print(json.dumps(results, indent=2), flush=True)
    for what, figure in bench.rows(results):
        print(f"{what}: {figure}", file=sys.stderr)
    return results


def run_module() -> None:
    """Run the bench that was started by `python -m bench.SHELF.NAME`."""
    spec = sys.modules["__main__"].__spec__
    assert spec is not None
    run_bench(spec.name.removeprefix("bench."), sys.argv[1:])


def call_of(name: str, words: list[str], args: argparse.Namespace) -> str:
    """The call that a result file records. It names no folder of the machine: DIR stands there."""
    folders = {value for value in vars(args).values() if isinstance(value, Path)}
    return " ".join([*CALL, name, *("DIR" if Path(word) in folders else word for word in words)])


def call_today(name: str, recorded: str) -> str:
    """The call of today for the one that a result file recorded, perhaps of a script of old."""
    words = recorded.split()
    flags = words[len(CALL) + 1 :] if words[1 : len(CALL)] == list(CALL[1:]) else words[2:]
    return " ".join([*CALL, name, *flags])


def documents() -> list[Path]:
    """The pages that may print a figure."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "bench" / "README.md"]


def users(name: str) -> list[Path]:
    """Pages that name a bench, templates that print its rows, and tests that run it.

    As `bench run NAME` or `bench.NAME`; as `bench("NAME")`; by an import.
    """
    shelf, module = name.split(".")
    called = rf"bench(\.|\s+run\s+|\(\s*\"){shelf}\.{module}\b"
    imported = rf"from bench\.{shelf} import [\w, ]*\b{module}\b"
    pattern = re.compile(f"{called}|{imported}")
    templates, tests = ROOT.glob("bench/tables/*.j2"), ROOT.glob("tests/**/test_*.py")
    files = [*documents(), *sorted(templates), *sorted(tests)]
    return [file for file in files if pattern.search(file.read_text(encoding="utf-8"))]


def unused_benches() -> list[str]:
    """Benches whose figure no document prints and that no test runs: they are to go."""
    return [name for name in bench_names() if not users(name)]
