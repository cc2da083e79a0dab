"""What ends an import in the terminal: what each column was taken for, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

ASIDE = "left aside"


def render_import(manifest: Mapping[str, Any]) -> list[RenderableType]:
    """Tables of a manifest that `import_files` returned: columns and keys, then messages.

    Args:
        manifest: of a cohort that was imported.

    Returns:
        What rich prints, in its order. It quotes no transcript: names, counts and rules alone.
    """
    facts = manifest["import"]
    return [_columns(facts["columns"]), *_messages(facts)]


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
