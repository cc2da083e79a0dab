"""What ends an import in the terminal: what each column was taken for, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.layouts.dialogue import LEVEL as MESSAGE_LEVEL
from leadline.questionnaires.fhir import CODE_LEVEL
from leadline.sources.files import JSON
from leadline.sources.quoting import sayable

if TYPE_CHECKING:
    from rich.console import RenderableType

ASIDE = "left aside"

LEVELS = (MESSAGE_LEVEL, CODE_LEVEL)


def render_import(manifest: Mapping[str, Any]) -> list[RenderableType]:
    """Tables of a manifest that `import_files` returned: columns and keys, then messages.

    Args:
        manifest: of a cohort that was imported.

    Returns:
        What rich prints, in its order. It quotes no transcript: names, counts and rules alone.
    """
    facts = manifest["import"]
    return [_columns(shown_columns(facts["columns"])), *_messages(facts)]


def shown_columns(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of columns and keys of a manifest, as they may be shown: see `sources.quoting`.

    A column of a table that was read has the name that its header gives. A key is shown only if it
    can be nobody's name or words; another is called by its number.
    """
    places: Counter[tuple[str, str]] = Counter()
    rows_shown = []
    for row in rows:
        level = next((level for level in LEVELS if row["name"].startswith(level)), "")
        places[row["file"], level] += 1
        name = _shown(row, level, places[row["file"], level])
        rows_shown.append({**row, "name": name})
    return rows_shown


def _columns(rows: list[dict[str, str]]) -> RenderableType:
    from rich.table import Table

    table = Table("file", "column or key", "taken for", "", box=None, pad_edge=False)
    # What is used comes first, then what is aside and looks like something, then the rest.
    order = sorted(rows, key=lambda row: (row["file"], not row["taken_for"], not row["note"]))
    for row in order:
        style = "" if row["taken_for"] else "yellow" if row["note"] else "dim"
        kind = row["taken_for"] or ASIDE
        table.add_row(row["file"], row["name"], kind, row["note"], style=style)
    return table


def _shown(row: Mapping[str, str], level: str, place: int) -> str:
    """A name of a table's header; of keys and codes only what can be nobody's name."""
    is_header = not level and Path(row["file"]).suffix.lower() not in JSON
    return row["name"] if is_header else level + sayable(row["name"][len(level) :], f"key {place}")


def _messages(facts: Mapping[str, Any]) -> list[RenderableType]:
    messages = facts["messages"]
    lines = [f"{messages['read']:,} messages read, {messages['turns']:,} turns written"]
    if messages["added"]:
        lines.append(f"  {messages['added']:,} turns added (questions, parts of split cells)")
    for rule, count in messages["left_out_by_rule"].items():
        lines.append(f"  {count:,} {rule}")
    if messages["bad"]:
        lines.append(f"  {messages['bad']:,} bad, left out")
    for change, count in facts["transformations"].items():
        if change not in messages["left_out_by_rule"]:
            lines.append(f"  {count:,} {change}")
    for what, name in (("turns", "turns"), ("phq9", "PHQ-9s")):
        if facts["undated"][what]:
            lines.append(f"  {facts['undated'][what]:,} {name} have no date")
    return ["\n".join(lines)]
