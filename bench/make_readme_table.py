"""Write bench/README.md and the README's table from the results, so that no figure drifts.

python bench/make_readme_table.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from scale_table import scale_rows
from selftrain_table import ablation_part

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
SELFTRAINING = HERE.parent / "docs" / "selftraining.md"
MODELS = ("leadline", "minilm", "tf-idf", "constant", "length", "assistant only")


def read(name: str) -> dict[str, Any] | None:
    """Results of one script, None if it was not run yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def span(score: dict[str, Any], digits: int) -> str:
    """Value and 95% interval."""
    if score["value"] is None:
        return "-"
    return f"{score['value']:.{digits}f} ({score['low']:.{digits}f} to {score['high']:.{digits}f})"


def accuracy_table(found: dict[str, Any]) -> list[str]:
    """The check-ins, every model."""
    lines = [
        "| model | MAE | RMSE | r | AUC at 10 or more | 90% interval holds |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        scores = found["models"].get(name)
        if scores is None:
            continue
        title = "**Leadline**, SmolLM2-135M frozen" if name == "leadline" else name
        lines.append(
            f"| {title} | {span(scores['mae'], 2)} | {scores['rmse']['value']:.2f} | "
            f"{span(scores['pearson'], 3)} | {scores['auc_10']['value']:.3f} | "
            f"{scores['coverage_90']['value']:.0%} |"
        )
    best = found["ceiling"]
    lines.append(
        f"| noise ceiling, retest reliability {best['reliability']} | {best['mae']:.2f} | "
        f"{best['rmse']:.2f} | {best['r']:.3f} | {best['auc_cut']:.3f} | |"
    )
    return lines


def paired(found: dict[str, Any], model: str, metric: str) -> str:
    """A paired difference, model minus leadline."""
    row = next(
        row
        for row in found["paired_against_leadline"]
        if row["model"] == model and row["metric"] == metric
    )
    digits = 3 if metric in ("pearson", "auc_10") else 2
    return f"{row['value']:+.{digits}f} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"


def readme_part() -> str:
    """What stands between the markers of the README."""
    found = read("checkins_accuracy_smollm2")
    if found is None:
        return ""
    lines = [
        f"{found['people']} adults who wrote six short answers about mood and worry, and then "
        f"their PHQ-9; 5 folds by person, {found['repeats']} draws of folds, everything chosen "
        f"inside the training folds; {found['machine']}, {found['date']}, "
        f"{found['train_seconds_all_folds']:.0f} s for all folds with the states cached. "
        "95% intervals over people.",
        "",
        *accuracy_table(found),
        "",
        "TF-IDF + ridge minus Leadline, same people and folds: MAE "
        f"{paired(found, 'tf-idf', 'mae')}, r {paired(found, 'tf-idf', 'pearson')}, AUC at 10 "
        f"{paired(found, 'tf-idf', 'auc_10')}.",
    ]
    return "\n".join(lines)


def recipes_part() -> list[str]:
    """Frozen, LoRA and the plain recipe."""
    lines: list[str] = []
    plain = read("plain_recipe")
    if plain is not None:
        lines += [
            "## Against the plain recipe",
            "",
            "Trainer + AutoModelForSequenceClassification + LoRA r16, dynamic padding, as a "
            "newcomer would write it; fold 0 of the check-ins, wall time from loaded data to "
            f"estimates, nothing cached. `python bench/plain_recipe.py plain|frozen`, "
            f"{plain['machine']}, {plain['date']}.",
            "",
            "| recipe | epochs | seconds | r | MAE | times less wall time |",
            "|---|---|---|---|---|---|",
        ]
        for name, row in plain["recipes"].items():
            times = row.get("times_less_wall_time", "")
            lines.append(
                f"| {name} | {row.get('epochs', '-')} | {row['seconds']} | {row['r']:.3f} | "
                f"{row['mae']:.2f} | {times} |"
            )
        lines.append("")
    lora = read("lora_vs_frozen")
    if lora is not None:
        lines += [
            "## LoRA against frozen states",
            "",
            f"SmolLM2-135M to layer 20, the same folds. `{lora['command']}`, {lora['machine']}, "
            f"{lora['date']}. Frozen here is the ridge on one layer, not the default head.",
            "",
            "| recipe | people estimated | r | MAE | frozen on the same people: r, MAE | "
            "averaged with it: r, MAE | seconds a fold | labelled positions a second |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, row in lora["recipes"].items():
            other, mixed = row.get("frozen_on_the_same_people"), row.get("averaged_with_frozen")
            lines.append(
                f"| {name} | {row['people']} | {row['r']:.3f} | {row['mae']:.2f} | "
                f"{_pair(other)} | {_pair(mixed)} | {row['seconds_a_fold']} | "
                f"{row.get('labelled_positions_a_second', '-')} |"
            )
        lines += ["", *_positions(plain, lora)]
    step = read("lora_step")
    if step is not None:
        lines += [
            f"One training step on {step['people_a_step']} people, ours against the plain "
            f"recipe's: {step['times_the_positions']} times the labelled positions a second "
            f"(`{step['command']}`, {step['machine']}, shared while it ran).",
            "",
        ]
    return lines


def _positions(plain: dict[str, Any] | None, lora: dict[str, Any]) -> list[str]:
    """Labelled positions a second of our LoRA recipe against the plain one's."""
    ours = lora["recipes"].get("lora top third", {}).get("labelled_positions_a_second")
    theirs = (plain or {"recipes": {}})["recipes"].get("plain", {})
    if ours is None or not theirs:
        return []
    times = ours / theirs["labelled_positions_a_second"]
    return [
        f"Labelled positions a second, whole recipe, loading included: {ours} against the plain "
        f"recipe's {theirs['labelled_positions_a_second']}, {times:.1f} times. Both ran on a "
        "machine that others used too.",
        "",
    ]


def _pair(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['r']:.3f}, {row['mae']:.2f}"


def table_part() -> list[str]:
    """Reader x layer x pool x head, the twenty best and the best of each kind."""
    found = read("checkins_table")
    if found is None:
        return []
    rows = found["table"]
    seen: set[tuple[str, ...]] = set()
    kept = []
    for row in rows:
        kind = (row["reader"], row["turn state"], row["pool"], row["head"])
        if kind not in seen:
            seen.add(kind)
            kept.append(row)
    lines = [
        "## Reader, layer, pool and head",
        "",
        f"The check-ins, 5 folds, {found['draws']} draws; the best layer of each combination "
        f"(all {len(rows)} cells are in `results/checkins_table.json`). The layer shown is the "
        "best of nine on these people, so these figures flatter; the first table does not. "
        f"`{found['command']}`, {found['machine']}, {found['date']}.",
        "",
        "| reader | turn state | pool | head | best layer | r | MAE |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['reader']} | {row['turn state']} | {row['pool']} | {row['head']} | "
        f"{row['layer']} | {row['r']:.3f} | {row['mae']:.2f} |"
        for row in kept
    ]
    return [*lines, ""]


def network_part() -> list[str]:
    """What each part of the network head is worth."""
    found = read("network_head")
    if found is None:
        return []
    counts = found["labels"]
    lines = [
        "## The network head, part by part",
        "",
        f"Simulated people, preset `paper`, reader minilm, gold only: {counts['train']:,} labels "
        f"train, {counts['left out']:,} with known and {counts['locked']:,} with unseen wordings "
        "are estimated. The unseen wordings are drawn from the bank's training half: the head was "
        "designed on them, and the locked people of the other benchmarks had no say. Means over "
        f"seeds (range of r). `{found['command']}`, {found['machine']}, {found['date']}.",
        "",
        "| head | known wordings: r | MAE | unseen wordings: r | MAE | processor s a fit |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in found["variants"].items():
        cells = []
        for words in ("known wordings", "unseen wordings"):
            r = [run[words]["r"] for run in runs]
            among = f" ({min(r):.3f} to {max(r):.3f})" if len(r) > 1 else ""
            mae = sum(run[words]["mae"] for run in runs) / len(runs)
            cells += [f"{sum(r) / len(r):.3f}{among}", f"{mae:.2f}"]
        seconds = sum(run["processor_seconds"] for run in runs) / len(runs)
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.1f} |")
    return [*lines, "", *_check_in_heads()]


def _check_in_heads() -> list[str]:
    """The network and the Gaussian process on the check-ins, each by its own call."""
    found = {head: read(f"checkins_accuracy_minilm_{head}") for head in ("network", "gp")}
    lines = ["On the check-ins, reader minilm, the same folds:", "",
             "| head | MAE | r | command |", "|---|---|---|---|"]  # fmt: skip
    for head, one in found.items():
        if one is not None:
            scores = one["models"]["leadline"]
            lines.append(
                f"| {head} | {span(scores['mae'], 2)} | {span(scores['pearson'], 3)} | "
                f"`{one['command']}` |"
            )
    return [*lines, ""]


def other_part() -> list[str]:
    """Speed of import, parity, and where the rest is."""
    lines = ["## Other figures", "", "| what | figure | command |", "|---|---|---|"]
    imports = HERE / "import_speed.jsonl"
    if imports.is_file():
        row = json.loads(imports.read_text(encoding="utf-8").splitlines()[0])
        lines.append(
            f"| import of {row['turns']:,} turns from Parquet, read back | "
            f"{row['turns_a_second']:,} turns/s, {row['peak_gb']} GB peak | "
            "`python bench/import_speed.py --turns 10000000` |"
        )
    parity = read("parity_seqcls")
    if parity is not None:
        for name, row in parity["readers"].items():
            lines.append(
                f"| `pool last, head scalar` against transformers' {row['theirs']} ({name}, fp32) "
                f"| outputs differ by {row['output_difference']:.1e}, gradients by at most "
                f"{row['largest_relative_gradient_difference']:.1e} (relative) | "
                "`python bench/parity_seqcls.py` |"
            )
    anchors = read("anchors_without_labels")
    if anchors is not None:
        row = anchors["r"]["smollm2:22"]
        lines.append(
            "| anchors alone on the check-ins, no label, SmolLM2 layer 22 | r "
            f"{row['all']:.3f} (plain {row['plain']:.3f}, broad {row['broad']:.3f}) | "
            "`python bench/anchors_without_labels.py` |"
        )
    times = read("start_time")
    if times is not None:
        lines.append(
            f"| `leadline --help` | {times['help_seconds_median']:.2f} s (median of "
            f"{times['runs']}), no torch | `{times['command']}` |"
        )
        if "demo_seconds" in times:
            lines.append(
                f"| `leadline demo`, packages in place | {times['demo_seconds']:.0f} s | "
                f"`{times['command']}` |"
            )
    lines += scale_rows(read)
    lines += [
        "",
        "The simulator's gates are in [docs/simulator.md](../docs/simulator.md), the request "
        "store and the label model in [docs/teachers.md](../docs/teachers.md).",
        "",
    ]
    return lines


def bench_page() -> str:
    """The whole of bench/README.md."""
    lines = [
        "# Measured",
        "",
        "Made by `python bench/make_readme_table.py` from `bench/results/`; do not edit. The "
        "check-in data is not part of the repository: set `LEADLINE_DATA` to its folder.",
        "",
        "## Check-ins, chosen inside the folds",
        "",
        "`python bench/checkins_accuracy.py`",
        "",
        readme_part(),
        "",
        *recipes_part(),
        *table_part(),
        *network_part(),
        *other_part(),
    ]
    return "\n".join(lines)


def with_part(page: Path, part: str) -> str:
    """A page with what stands between its marks made anew."""
    head, rest = page.read_text(encoding="utf-8").split(START, 1)
    _, tail = rest.split(END, 1)
    return f"{head}{START}\n{part}\n{END}{tail}"


if __name__ == "__main__":
    tables = [ablation_part(read(f"selftrain_{name}")) for name in ("network", "ablation")]
    ablation = "\n\n".join("\n".join(lines) for lines in tables if lines)
    pages = {
        README: with_part(README, readme_part()),
        SELFTRAINING: with_part(SELFTRAINING, ablation),
        HERE / "README.md": bench_page(),
    }
    for path, text in pages.items():
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                sys.exit(f"{path.name} is out of date: run python bench/make_readme_table.py")
        else:
            path.write_text(text, encoding="utf-8")
