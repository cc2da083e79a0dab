"""The few numbers of `results.json` that a person wants in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leadline.evaluate.further import short_title
from leadline.evaluate.rounds import ablation_sets, canary_words, steps, verdict

COLUMNS = (
    ("mae", "MAE", 2),
    ("pearson", "r", 3),
    ("auc_10", "AUC\n>= 10", 3),
    ("crps", "CRPS", 2),
    ("coverage_90", "90%\ncovers", 2),
    ("width_90", "90%\nwidth", 1),
)

WITHIN = ("mae",)  # scores whose interval is shown: 80 columns hold no more

CEILING = {"pearson": "r", "auc_10": "auc_cut"}  # what the ceiling calls these


def render_summary(results: Mapping[str, Any]) -> RenderableType:
    """The verdict, what self-training added, scores of every model and set, and the warnings."""
    parts: list[RenderableType] = [Text(f"{results['sets'][0]['verdict']['sentence']}\n")]
    rounds = results["selftraining"]
    if rounds:
        parts += [_ablation(rounds, at) for at in range(len(ablation_sets(results["sets"])))]
        parts += [
            Text(f"Round {entry['round']}: {verdict(entry)}.") for entry in rounds["rounds"][1:]
        ]
        words = canary_words(rounds["rounds"])
        parts += [Text(words)] * bool(words)
        parts.append(Text(""))
    parts += [_scores(set_results, steps(results)) for set_results in results["sets"]]
    if "weighing" in results:  # evaluations of earlier versions do not say it
        parts.append(Text(str(results["weighing"])))
    parts += [Text(line) for line in profile_lines(results)]
    parts += [Text(entry["text"]) for entry in (results.get("further") or {}).values()]
    for warning in results["warnings"]:
        parts.append(Text(f"Note: {warning['text']}", style="yellow"))
    if results["simulated"]:
        parts.append(Text(str(results["simulated_notice"])))
    return Group(*parts)


def profile_lines(results: Mapping[str, Any]) -> list[str]:
    """What is said of the profiles of the items: a line for each set, and what they are not."""
    scores = results.get("profile")  # evaluations of earlier versions have none
    if not scores:
        return []
    lines = []
    for entry in scores["sets"]:
        of_text, no_text = next(iter(entry["models"].values())), entry["models"]["marginal"]
        lines.append(
            f"Items, {short_title(entry['split'])}: MAE {_cell(of_text['mae'], 2)}, without text "
            f"{_plain(no_text['mae']['value'], 2)}; log score "
            f"{_plain(of_text['log_score']['value'], 3)}, gain "
            f"{_cell(entry['gains']['marginal'], 3)}."
        )
    return [*lines, str(scores["notice"])]


def _table(title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", min_width=14, overflow="fold")
    return table


def _ablation(rounds: Mapping[str, Any], index: int) -> Table:
    """Every step of self-training on one set, beside the model trained on gold only."""
    split = short_title(rounds["rows"][0]["sets"][index]["split"])
    table = _table(
        f"What pseudolabels added, {split}",
        f"value (95% interval); difference of MAE from {rounds['reference']}, paired",
    )
    for name in ("MAE", "r", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rounds["rows"]:
        cell = row["sets"][index]
        gap = cell["difference"]
        sign = "+" if gap and (gap["value"] or 0) > 0 else ""
        table.add_row(
            row["model"],
            _cell(cell["mae"], 2),
            _cell(cell["pearson"], 2),
            sign + _cell(gap, 2) if gap else "",
        )
    return table


def _scores(set_results: Mapping[str, Any], hidden: set[str]) -> Table:
    """Headline scores of a set's models but `hidden` ones, the ceiling, the limit if known."""
    table = _table(
        f"{set_results['people']} people, {set_results['labels']} PHQ-9s, {set_results['split']}",
        "value, 95% interval over persons; share of the explainable variance explained",
    )
    limit = set_results["limit"]
    for _, name, _ in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ex-\nplained", justify="right", no_wrap=True)
    if limit:
        table.add_column("MAE to\nthe limit", justify="right", no_wrap=True)
    for model, entry in set_results["models"].items():
        if model in hidden:
            continue
        scores = entry["scores"]
        cells = [_cell(scores.get(key), digits, within=key in WITHIN) for key, _, digits in COLUMNS]
        table.add_row(model, *cells, *_reached(entry["explainable"], limit))
    best = set_results["ceiling"]["default"]
    if best:
        table.add_section()
        table.add_row(
            f"ceiling (retest {best['reliability']})",
            *(_plain(best.get(CEILING.get(key, key)), digits) for key, _, digits in COLUMNS),
        )
    if limit:
        names = {"pearson": "r"}
        table.add_row(
            f"limit, {limit['labels']} PHQ-9s" if "labels" in limit else "limit of these texts",
            *(_plain(limit.get(names.get(key, key)), digits) for key, _, digits in COLUMNS),
        )
    return table


def _reached(reached: Mapping[str, Any], limit: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Share of the explainable variance, and the gap to the limit where it is known."""
    share = reached["of_limit"] if limit else reached["of_ceiling"]
    text = "-" if share is None else f"{share:.0%}"
    if not limit:
        return (text,)
    gap = reached["gap_to_limit"].get("mae")
    return (text, "-" if gap is None else f"{gap:+.2f}")


def _cell(score: Mapping[str, Any] | None, digits: int, *, within: bool = True) -> str:
    if score is None or score.get("value") is None:
        return "-"
    text = _plain(score["value"], digits)
    if score.get("low") is None or not within:
        return text
    return f"{text} ({_plain(score['low'], digits)}, {_plain(score['high'], digits)})"


def _plain(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
