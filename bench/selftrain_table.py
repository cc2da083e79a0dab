"""Tables of docs/selftraining.md from bench/results/selftrain_ablation.json."""

from __future__ import annotations

from typing import Any

ORDER = (
    "gold only",
    "raw teacher",
    "label model, teacher alone",
    "round 1",
    "round 1, bands evened",
    "round 2",
    "round 3",
    "leadline",
    "true labels",
    "fused",
)


def ablation_part(found: dict[str, Any] | None) -> list[str]:
    """The ablation on simulated people, one table a teacher, and the rounds."""
    if found is None:
        return []
    teachers = {name: part for name, part in found.items() if isinstance(part, dict)}
    teachers.pop("settings")
    seeds = max(len(part["seeds"]) for part in teachers.values())
    limits = next(iter(teachers.values()))["limit"].values()
    lines = [
        f"Simulated people, preset `paper`, {seeds} seeds, reader {found['settings']['reader']}, "
        f"head {found['settings']['fit']}, {found['settings']['folds']} folds. `"
        f"{shown(found['command'])}`, {found['machine']}, {found['date']}. Differences are in MAE "
        "against gold only on the same people, 95% intervals over people, seeds pooled; below 0 "
        "is better. The best possible predictor has MAE "
        f"{mean(limits, 'mae'):.2f} and r {mean(limits, 'r'):.2f} on the locked people.",
    ]
    for name, part in teachers.items():
        lines += ["", *teacher_table(name, part)]
    return [*lines, "", *rounds_table(teachers)]


def shown(command: str) -> str:
    """The command without folders of the machine that ran it."""
    words = command.split()
    if "--work" in words:
        words[words.index("--work") + 1] = "DIR"
    return " ".join(words)


def mean(limits: Any, key: str) -> float:
    """Mean over seeds of a figure of the best possible predictor."""
    values = [one[key] for one in limits]
    return sum(values) / len(values)


def teacher_table(name: str, part: dict[str, Any]) -> list[str]:
    """Locked and out of fold, side by side."""
    locked, folds = part["locked"], part["out-of-fold"]
    shares = part.get("out-of-fold, share of what true labels gain", {})
    # A share of no gain means nothing.
    useful = locked.get("true labels", {}).get("high", 0.0) < 0
    there = part.get("locked, share of what true labels gain", {}) if useful else {}
    lines = [
        f"Teacher {name} ({len(part['seeds'])} seed(s); {locked['gold only']['labels']:,} locked "
        f"and {folds['gold only']['labels']:,} out-of-fold labels):",
        "",
        "| model | locked MAE | r | minus gold only | of the gain of true labels | of the limit's "
        "variance | out-of-fold MAE | r | minus gold only | of the gain of true labels |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (row for row in ORDER if row in locked):
        one, other = locked[row], folds[row]
        share, other_share = (
            span(gains[row]) if row in gains and row != "fused" else "" for gains in (there, shares)
        )
        some = one["labels"] < locked["gold only"]["labels"]  # not every seed came so far
        title = f"{row} ({one['labels']:,} locked labels)" if some else row
        lines.append(
            f"| {title} | {one['mae']:.3f} | {one['r']:.3f} | {gap(row, one)} | {share} | "
            f"{one['of_limit']:.0%} | {other['mae']:.3f} | {other['r']:.3f} | "
            f"{gap(row, other)} | {other_share} |"
        )
    return lines


def span(share: dict[str, float]) -> str:
    """A share with its interval."""
    return f"{share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%})"


def gap(row: str, one: dict[str, float]) -> str:
    """Difference from gold only with its interval."""
    if row == "gold only":
        return ""
    return f"{one['minus_gold_only']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"


def rounds_table(teachers: dict[str, Any]) -> list[str]:
    """Pseudolabels, weights, spread, slope and canary by round."""
    lines = [
        "| teacher | seed | round | pseudolabel share | mean weight | variance ratio | slope | "
        "canary r (95% of chance) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, part in teachers.items():
        for course in part["courses"]:
            for one in (one for one in course["rounds"] if "slope" in one):
                canary = one["canary"]
                said = f"{canary['r']:+.2f} ({canary['null_95']:.2f})" if canary else ""
                lines.append(
                    f"| {name} | {course['seed']} | {one['round']} | "
                    f"{one.get('pseudolabel_share', 0):.2f} | {one.get('mean_weight', 0):.2f} | "
                    f"{one['variance_ratio']:.2f} | {one['slope']:.2f} | {said} |"
                )
    return lines
