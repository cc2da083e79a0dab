"""The few numbers of `results.json` that a person wants in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLUMNS = (
    ("mae", "MAE", 2),
    ("rmse", "RMSE", 2),
    ("pearson", "r", 3),
    ("auc_10", "AUC >= 10", 3),
    ("crps", "CRPS", 2),
    ("coverage_90", "90% covers", 2),
)
CEILING = {"pearson": "r", "auc_10": "auc_cut"}  # what the ceiling calls these


def render_summary(results: Mapping[str, Any]) -> RenderableType:
    """Headline scores of every model and set, the ceiling, and the warnings."""
    parts: list[RenderableType] = []
    for one in results["sets"]:
        title = f"{one['people']} people, {one['labels']} PHQ-9s, {one['split']}"
        table = Table(title=title, caption="value, 95% interval over persons")
        table.add_column("model")
        for _, name, _ in COLUMNS:
            table.add_column(name, justify="right")
        limit = one["limit"]
        table.add_column("of the explainable", justify="right")
        if limit:
            table.add_column("to the limit", justify="right")
        for model, entry in one["models"].items():
            scores = entry["scores"]
            cells = [_cell(scores.get(key), digits) for key, _, digits in COLUMNS]
            table.add_row(model, *cells, *_explainable(entry["explainable"], limit))
        best = one["ceiling"]["default"]
        if best:
            table.add_section()
            table.add_row(
                f"noise ceiling (retest {best['reliability']})",
                *(_plain(best.get(CEILING.get(key, key)), digits) for key, _, digits in COLUMNS),
            )
        if limit:
            names = {"pearson": "r"}
            table.add_row(
                "limit: best possible predictor",
                *(_plain(limit.get(names.get(key, key)), digits) for key, _, digits in COLUMNS),
            )
        parts.append(table)
    for warning in results["warnings"]:
        parts.append(Text(f"Note: {warning['text']}", style="yellow"))
    if results["simulated"]:
        parts.append(Text(str(results["simulated_notice"])))
    return Group(*parts)


def _explainable(reached: Mapping[str, Any], limit: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Share of the explainable variance, and the gap to the limit where it is known."""
    share = reached["of_limit"] if limit else reached["of_ceiling"]
    text = "-" if share is None else f"{share:.0%}"
    if not limit:
        return (text,)
    gap = reached["gap_to_limit"]
    parts = [f"{name} {gap[key]:+.2f}" for key, name in (("r", "r"), ("mae", "MAE")) if key in gap]
    return (text, ", ".join(parts) or "-")


def _cell(score: Mapping[str, Any] | None, digits: int) -> str:
    if score is None or score.get("value") is None:
        return "-"
    text = _plain(score["value"], digits)
    if score.get("low") is None:
        return text
    return f"{text} ({_plain(score['low'], digits)}, {_plain(score['high'], digits)})"


def _plain(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
