"""Write the map of files in CONTRIBUTING.md from the first line of each module.

python docs/make_map.py [--check]
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
SOURCE = ROOT / "src" / "leadline"
START, END = "<!-- map:start -->", "<!-- map:end -->"


def first_line(file: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text, f"{file} has no docstring"
    return text.splitlines()[0].rstrip(".")


def floors() -> list[list[str]]:
    """Rooms and single modules from the top down, as the import contract lists them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    names = [[name.strip(" ()").split(".")[1] for name in layer.split("|")] for layer in layers]
    return [[name for name in floor if exists(name)] for floor in names]


def exists(name: str) -> bool:
    """True if a room or a module of this name is there: a floor may wait for its room."""
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()


def room_lines(name: str) -> list[str]:
    """A room and its files, or a single module."""
    folder = SOURCE / name
    if not folder.is_dir():
        return [f"- `{name}.py`: {first_line(folder.with_suffix('.py'))}"]
    files = sorted(file for file in folder.glob("*.py") if file.stem != "__init__")
    return [
        f"- **`{name}/`**: {first_line(folder / '__init__.py')}",
        *(f"  - `{file.name}`: {first_line(file)}" for file in files),
    ]


def page(text: str) -> str:
    """The page with its map made anew."""
    lines = [line for floor in floors() for name in floor for line in room_lines(name)]
    before, rest = text.split(START)
    return "\n".join([before + START, "", *lines, "", END]) + rest.split(END)[1]


if __name__ == "__main__":
    current = PAGE.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        PAGE.write_text(page(current), encoding="utf-8")
    elif page(current) != current:
        sys.exit("CONTRIBUTING.md is out of date: run python docs/make_map.py")
