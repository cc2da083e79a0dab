"""Figures of the report as SVG text, drawn from results and from nothing else.

Each function returns one `<svg>` element without scripts or outside references. Figures are
drawn small (about 330 pt wide) so that they stay readable on a phone; a browser scales them
up. Colours are of the Okabe-Ito palette, which colour-blind readers can tell apart, and no
meaning is carried by colour alone.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from leadline.arrays import Array
from leadline.evaluate.further import short_title
from leadline.phq9.items import BANDS, ITEMS

WIDTH = 4.6  # inches

NARROW = 3.5  # of figures that stand three in a row

INK, MUTED, RULE = "#1d2b38", "#5b6875", "#d9dfe4"

BLUE, ORANGE, GREEN, SKY = "#0072b2", "#c14f00", "#00795a", "#56b4e9"

AGREE = "#dcebf5"

MOST_VECTOR_POINTS = 3000  # beyond this a scatter is drawn as an image inside the SVG

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.solid_capstyle": "round",
}


def _axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    return figure, axes


def _svg(figure: Figure, name: str, alternative: str) -> str:
    """The figure as one SVG element with its text alternative; `name` keeps ids apart."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.id": name}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _own_ids(text, name)
    label = html.escape(alternative, quote=True)
    opening = f'<svg role="img" aria-label="{label}"'
    text = text.replace("<svg", opening, 1)
    return re.sub(r'(<svg[^>]*?) width="[\d.]+pt" height="[\d.]+pt"', r"\1", text, count=1)


def _own_ids(text: str, name: str) -> str:
    """Drop ids that nothing refers to, and mark the others as of figure `name`."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))

    def keep(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r'\sid="([^"]*)"', keep, text)
    return re.sub(r'(url\(#|href="#)', rf"\1{name}-", text)


def _totals(axes: Axes, maximum: int, which: str = "both") -> None:
    """Ticks at the starts of the bands, on the axes of totals."""
    ticks = [0, 5, 10, 15, 20, maximum]
    if which in ("x", "both"):
        axes.set_xlim(-0.8, maximum + 0.8)
        axes.set_xticks(ticks)
    if which in ("y", "both"):
        axes.set_ylim(-0.8, maximum + 0.8)
        axes.set_yticks(ticks)


def _bars(points: Sequence[Mapping[str, Any]]) -> Array:
    """Lengths below and above the values for `errorbar`; no length without an interval."""
    lengths = []
    for point in points:
        value, low, high = (point[key] for key in ("value", "low", "high"))
        lengths.append((0.0, 0.0) if low is None else (max(value - low, 0), max(high - value, 0)))
    return np.array(lengths).T


@mpl.rc_context(STYLE)
def scatter(name: str, gold: Array, estimate: Array, maximum: int) -> str:
    """Estimate against gold, with the severity bands shaded on both axes."""
    figure, axes = _axes(4.1)
    for _, low, high in BANDS:
        side = min(high, maximum) - low + 1
        axes.add_patch(Rectangle((low - 0.5, low - 0.5), side, side, color=AGREE, lw=0, zorder=0))
    for _, low, _ in BANDS[1:]:
        axes.axhline(low - 0.5, color=RULE, lw=0.6, zorder=0)
        axes.axvline(low - 0.5, color=RULE, lw=0.6, zorder=0)
    axes.plot([0, maximum], [0, maximum], color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
    # whole totals overprint one another: a fixed sideways shift shows how many there are
    shift = np.random.default_rng(0).uniform(-0.3, 0.3, len(gold))
    axes.scatter(
        gold + shift,
        np.clip(estimate, 0, maximum),
        s=9,
        color=BLUE,
        alpha=0.45 if len(gold) > 300 else 0.6,
        linewidths=0,
        rasterized=len(gold) > MOST_VECTOR_POINTS,
        zorder=2,
    )
    _totals(axes, maximum)
    axes.set_aspect("equal")
    axes.set_xlabel("PHQ-9 total that the person gave" if maximum > 24 else "PHQ-8 total given")
    axes.set_ylabel("Estimate from conversation")
    inside = float(np.mean(np.abs(gold - estimate) < 5))
    return _svg(
        figure,
        name,
        f"Scatter of {len(gold)} labels: estimate against the total given. "
        f"{inside:.0%} lie within 5 points of the diagonal.",
    )


@mpl.rc_context(STYLE)
def calibration(name: str, bins: Sequence[Mapping[str, Any]], maximum: int) -> str:
    """Mean gold total in bins of the estimate."""
    figure, axes = _axes(4.1)
    axes.plot([0, maximum], [0, maximum], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    forecast = [entry["forecast"] for entry in bins]
    outcome = [entry["outcome"] for entry in bins]
    values = [point["value"] for point in outcome]
    axes.errorbar(
        forecast, values, yerr=_bars(outcome), fmt="o-", color=BLUE, ms=5, lw=1.1, capsize=0
    )
    _totals(axes, maximum)
    axes.set_aspect("equal")
    axes.set_xlabel("Mean estimate in the bin")
    axes.set_ylabel("Mean total given in the bin")
    pairs = ", ".join(f"{f:.1f} to {v:.1f}" for f, v in zip(forecast, values, strict=True))
    return _svg(figure, name, f"Calibration in bins, estimate to total given: {pairs}.")


@mpl.rc_context(STYLE)
def auc_curve(
    name: str,
    points: Sequence[Mapping[str, Any]],
    ceiling: Sequence[Mapping[str, Any]],
    cut: int,
) -> str:
    """AUC at every threshold with its interval, and the ceiling above it."""
    figure, axes = _axes(3.1)
    valid_points = [point for point in points if point["value"] is not None]
    x = [point["threshold"] for point in valid_points]
    values = np.array([point["value"] for point in valid_points])
    low = [np.nan if p["low"] is None else p["low"] for p in valid_points]
    high = [np.nan if p["high"] is None else p["high"] for p in valid_points]
    axes.axvline(cut, color=RULE, lw=5, zorder=0)
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, lw=0, label="95% interval")
    axes.plot(x, values, color=BLUE, lw=1.6, marker="o", ms=3.2, label="model")
    best = [(point["threshold"], point["value"]) for point in ceiling if point["value"] is not None]
    if best:
        axes.plot(*zip(*best, strict=True), color=ORANGE, lw=1.1, ls=(0, (5, 2)), label="ceiling")
    axes.set_xlim(2.5, 24.5)
    axes.set_xticks([3, 5, 10, 15, 20, 24])
    lowest = min([0.7, *[v - 0.03 for v in low if np.isfinite(v)], *(values - 0.03)])
    axes.set_ylim(max(0.0, lowest), 1.005)
    axes.set_xlabel("Threshold k: does the person score k or more?")
    axes.set_ylabel("AUC")
    axes.legend(loc="lower right", ncols=3, handlelength=1.6, columnspacing=1.0)
    description = ", ".join(f"{k}: {v:.2f}" for k, v in zip(x, values, strict=True))
    return _svg(figure, name, f"AUC by threshold. {description}.")


@mpl.rc_context(STYLE)
def band_errors(name: str, bands: Sequence[Mapping[str, Any]]) -> str:
    """Mean absolute error and bias in each band of the gold total."""
    figure, axes = _axes(3.1)
    valid_bands = [(i, band) for i, band in enumerate(bands) if band["mae"]["value"] is not None]
    axes.axhline(0, color=MUTED, lw=0.8)
    for key, offset, marker, colour, text in (
        ("mae", -0.12, "o", BLUE, "mean absolute error"),
        ("bias", 0.12, "D", ORANGE, "mean error (above 0: too high)"),
    ):
        points = [band[key] for _, band in valid_bands]
        axes.errorbar(
            [i + offset for i, _ in valid_bands],
            [point["value"] for point in points],
            yerr=_bars(points) if points else None,
            fmt=marker,
            color=colour,
            ms=5.5,
            lw=1.4,
            markerfacecolor=colour if key == "mae" else "white",
            label=text,
        )
    names = [f"{b['band'].replace(' ', chr(10))}\n{b['low']}-{b['high']}" for b in bands]
    axes.set_xticks(range(len(bands)), names, fontsize=8.5)
    axes.set_xlim(-0.5, len(bands) - 0.5)
    axes.set_ylabel("Points of the total")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.2)
    description = "; ".join(
        f"{b['band']}: MAE {b['mae']['value']:.1f}, bias {b['bias']['value']:+.1f}"
        for _, b in valid_bands
    )
    return _svg(figure, name, f"Error by severity band. {description}.")


@mpl.rc_context(STYLE)
def dialogue_errors(name: str, dialogue: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Mean absolute error in quantile bins of user turns and of user words."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels = figure.subplots(1, len(dialogue), sharey=True, squeeze=False)[0]
    titles = {"user_turns": "User turns", "user_words": "User words"}
    descriptions = []
    for axes, (measure, bins) in zip(panels, dialogue.items(), strict=True):
        points = [entry["mae"] for entry in bins]
        axes.errorbar(
            range(len(bins)),
            [point["value"] for point in points],
            yerr=_bars(points),
            fmt="o-",
            color=BLUE,
            ms=5.5,
            lw=1.3,
        )
        names = [
            f"{entry['from']:g}"
            if entry["from"] == entry["to"]
            else f"{entry['from']:g}-\n{entry['to']:g}"
            for entry in bins
        ]
        axes.set_xticks(range(len(bins)), names, fontsize=8.5)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xlabel(titles[measure])
        pairs = ", ".join(f"{b['from']:g} to {b['to']:g}: {b['mae']['value']:.1f}" for b in bins)
        descriptions.append(f"{titles[measure]}: {pairs}")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("Mean absolute error")
    return _svg(figure, name, f"Error by amount of dialogue. {'. '.join(descriptions)}.")


@mpl.rc_context(STYLE)
def pit(name: str, histogram: Sequence[float]) -> str:
    """PIT histogram: flat if the distributions are calibrated."""
    figure, axes = _axes(2.6, NARROW)
    bins = len(histogram)
    centres = (np.arange(bins) + 0.5) / bins
    height = np.array(histogram) * bins
    axes.bar(centres, height, width=0.92 / bins, color=SKY, lw=0)
    axes.axhline(1, color=INK, lw=0.9, ls=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(1.6, height.max() * 1.1))
    axes.set_xlabel("Where the total fell in its own distribution")
    axes.set_ylabel("Density (1 is ideal)")
    description = ", ".join(f"{v:.2f}" for v in height)
    return _svg(figure, name, f"PIT histogram, densities from low to high: {description}.")


@mpl.rc_context(STYLE)
def coverage(name: str, intervals: Sequence[Mapping[str, Any]]) -> str:
    """Coverage of the central intervals beside what the model claims for them."""
    figure, axes = _axes(2.6, NARROW)
    places = np.arange(len(intervals))
    points = [interval["coverage"] for interval in intervals]
    axes.errorbar(
        places,
        [np.nan if p["value"] is None else p["value"] for p in points],
        yerr=_bars(points),
        fmt="o",
        color=BLUE,
        ms=6,
        lw=1.4,
        label="held the total",
    )
    axes.hlines(
        [interval["claimed"] for interval in intervals],
        places - 0.22,
        places + 0.22,
        color=ORANGE,
        lw=1.8,
        label="claimed by the model",
    )
    names = [f"{interval['level']}%\nwidth {interval['width']:.1f}" for interval in intervals]
    axes.set_xticks(places, names)
    axes.set_xlim(-0.6, len(intervals) - 0.4)
    axes.set_ylim(0.3, 1.02)
    axes.set_yticks([0.4, 0.6, 0.8, 1.0], ["40%", "60%", "80%", "100%"])
    axes.legend(loc="lower right", handlelength=1.4)
    description = ", ".join(
        f"{interval['level']}%: held {interval['coverage']['value']:.0%}, "
        f"claimed {interval['claimed']:.0%}"
        for interval in intervals
    )
    return _svg(figure, name, f"Coverage of intervals. {description}.")


@mpl.rc_context(STYLE)
def reliability(name: str, bins: Sequence[Mapping[str, Any]], event: str) -> str:
    """How often an event came about, against the probability given to it."""
    figure, axes = _axes(2.6, NARROW)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    outcome = [entry["outcome"] for entry in bins]
    forecast = [entry["forecast"] for entry in bins]
    values = [point["value"] for point in outcome]
    axes.errorbar(forecast, values, yerr=_bars(outcome), fmt="o-", color=BLUE, ms=5, lw=1.1)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [f"{t:.0%}" for t in ticks])
    axes.set_yticks(ticks, [f"{t:.0%}" for t in ticks])
    axes.set_xlabel(f"Probability given to {event}")
    axes.set_ylabel("How often it was")
    description = ", ".join(f"{f:.0%} to {v:.0%}" for f, v in zip(forecast, values, strict=True))
    return _svg(figure, name, f"Reliability of the probability, given to observed: {description}.")


@mpl.rc_context(STYLE)
def forest(name: str, rows: Sequence[Mapping[str, Any]], reference: str, unit: str) -> str:
    """Differences from the reference with paired intervals, one row a model."""
    figure, axes = _axes(0.95 + 0.27 * len(rows))
    places = np.arange(len(rows))[::-1]
    axes.axvline(0, color=INK, lw=0.9)
    for place, row in zip(places, rows, strict=True):
        clear = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
        axes.errorbar(
            row["value"],
            place,
            xerr=_bars([row]),
            fmt="s",
            ms=5,
            lw=1.5,
            color=BLUE,
            markerfacecolor=BLUE if clear else "white",
        )
    axes.set_yticks(places, [row["model"] for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{unit} minus that of {reference}")
    description = "; ".join(f"{row['model']} {row['value']:+.2f}" for row in rows)
    return _svg(figure, name, f"{unit} of each model minus that of {reference}: {description}.")


@mpl.rc_context(STYLE)
def learning_curves(name: str, curves: Sequence[Mapping[str, Any]]) -> str:
    """The loss over the epochs, the trainings of a run overlaid, kinds of labels apart.

    Args:
        name: of the figure, unique in the page.
        curves: contents of `curve.json`: the unit of the loss, and a line a step.
    """
    figure, axes = _axes(3.1)
    descriptions = []
    for key, text, colour, style, marker in (
        ("gold_loss", "PHQ-9s", BLUE, "-", ""),
        ("pseudolabel_loss", "pseudolabels", ORANGE, "--", ""),
        ("held_out_loss", "people set aside", GREEN, ":", "o"),
    ):
        courses = [_smoothed(curve["lines"], key) for curve in curves]
        courses = [course for course in courses if len(course)]
        for number, course in enumerate(courses):
            axes.plot(
                *course.T, color=colour, ls=style, marker=marker, ms=3.5, lw=1.1, alpha=0.7,
                label="" if number else text,
            )  # fmt: skip
        if courses:
            first, last = (np.mean([course[at, 1] for course in courses]) for at in (0, -1))
            descriptions.append(f"{text}: {first:.2f} at first, {last:.2f} at last")
    axes.set_xlabel("Epoch")
    axes.set_ylabel(f"Loss ({curves[0]['unit']})")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.8)
    trainings = f"{len(curves)} training{'s' if len(curves) != 1 else ''}"
    return _svg(figure, name, f"Loss in the course of {trainings}. {'; '.join(descriptions)}.")


def _smoothed(lines: Sequence[Mapping[str, Any]], key: str, most: int = 40) -> Array:
    """Epoch and mean of `key` in at most `most` stretches of the lines that have it, (n, 2)."""
    points = np.array([(line["epoch"], line[key]) for line in lines if key in line], dtype=float)
    stretches = np.array_split(points, min(most, len(points))) if len(points) else []
    return np.array([stretch.mean(axis=0) for stretch in stretches]).reshape(-1, 2)


@mpl.rc_context(STYLE)
def differences(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    splits: Sequence[tuple[str, str]],
    reference: str,
) -> str:
    """Differences of MAE from the reference by the steps of self-training, one mark a split.

    Args:
        name: of the figure, unique in the page.
        rows: of `rounds.rounds_view`, without the reference.
        splits: (split, instrument) in the order of each row's `sets`.
        reference: the model trained on gold only.
    """
    figure, axes = _axes(1.35 + (0.2 + 0.2 * len(splits)) * len(rows))
    places = np.arange(len(rows))[::-1]
    axes.axvline(0, color=INK, lw=0.9)
    descriptions = []
    marks = ((BLUE, "o"), (ORANGE, "D"), (GREEN, "s"), (MUTED, "^"))
    for number, (split, instrument) in enumerate(splits):
        colour, marker = marks[number % len(marks)]
        offset = 0.22 * ((len(splits) - 1) / 2 - number)
        split_name = short_title(split)
        text = split_name if instrument == "phq9" else f"{split_name}, PHQ-8"
        points = [
            (place + offset, row["model"], row["sets"][number]["difference"])
            for place, row in zip(places, rows, strict=True)
        ]
        valid_points = [
            (y, model, gap) for y, model, gap in points if gap and gap["value"] is not None
        ]
        gaps = [gap for _, _, gap in valid_points]
        axes.errorbar(
            [gap["value"] for gap in gaps],
            [y for y, _, _ in valid_points],
            xerr=_bars(gaps) if gaps else None,
            fmt=marker,
            ms=5,
            lw=1.5,
            color=colour,
            label=text,
        )
        descriptions.append(
            f"{text}: "
            + "; ".join(f"{model} {gap['value']:+.2f}" for _, model, gap in valid_points)
        )
    axes.set_yticks(places, [row["model"] for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"MAE minus that of {reference}\n(left of zero: errs less)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.2)
    return _svg(
        figure, name, f"MAE of each step minus that of {reference}. {'. '.join(descriptions)}."
    )


@mpl.rc_context(STYLE)
def course(name: str, person: str, steps: Mapping[str, Array], gold: Sequence[Any]) -> str:
    """One person's running estimate with its interval, gold totals, and what moved it.

    Args:
        name: of the figure, unique in the page.
        person: how the page calls the person.
        steps: `mean`, `lower`, `upper`, `increment`, `departure`, each (user turns,).
        gold: pairs (user turns said by then, total).
    """
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x = np.arange(1, len(steps["mean"]) + 1)
    for _, low, _ in BANDS[1:]:
        top.axhline(low - 0.5, color=RULE, lw=0.8, zorder=0)
    top.fill_between(x, steps["lower"], steps["upper"], color=SKY, alpha=0.35, lw=0, step="mid")
    top.plot(x, steps["mean"], color=BLUE, lw=1.7, drawstyle="steps-mid")
    if len(gold):
        top.plot(*zip(*gold, strict=True), "D", color=ORANGE, ms=6.5, mec="white", mew=0.8)
    _totals(top, 27, "y")
    top.set_ylabel("Estimate")
    departure = np.nan_to_num(steps["departure"])
    arrival = np.nan_to_num(steps["increment"]) - departure
    bottom.bar(x, arrival, color=np.where(arrival >= 0, BLUE, GREEN), width=0.8)
    # Drawn hollow and narrower: it lies before the turn in time and says nothing about it.
    departure_turns = np.flatnonzero(departure)
    bottom.bar(
        x[departure_turns],
        departure[departure_turns],
        color="none",
        edgecolor=MUTED,
        lw=1.1,
        width=0.5,
        zorder=3,
    )
    bottom.axhline(0, color=MUTED, lw=0.7)
    reach = max(2.0, float(np.abs([arrival, departure]).max()) * 1.1)
    bottom.set_ylim(-reach, reach)
    bottom.set_ylabel("Change")
    bottom.set_xlabel("User turn")
    bottom.set_xlim(0.3, len(x) + 0.7)
    bottom.xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels([top, bottom])
    phq9s = ", ".join(f"{total:g} after {turn} turns" for turn, total in gold)
    largest = int(np.abs(arrival).argmax())
    return _svg(
        figure,
        name,
        f"Course of {person}: the estimate goes from {steps['mean'][0]:.1f} after the first user "
        f"turn to {steps['mean'][-1]:.1f} after {len(x)}. Turn {largest + 1} moved it most, by "
        f"{arrival[largest]:+.1f}. PHQ-9 given: {phq9s or 'none'}.",
    )


ANSWER_SHADES = ("#eef3f7", "#b5d3e7", "#56a3cf", "#0b5c8f")  # of the answers 0 to 3


@mpl.rc_context(STYLE)
def item_means(name: str, items: Sequence[Mapping[str, Any]]) -> str:
    """Mean answer to each item with its interval, and the mean that was expected."""
    figure, axes = _axes(3.4)
    rows = np.arange(len(items))
    answers = [item["answer"] for item in items]
    expected = [item["expected"] for item in items]
    axes.errorbar(
        [answer["value"] for answer in answers], rows, xerr=_bars(answers), fmt="D",
        color=ORANGE, ms=5, lw=1.1, label="answered, 95% interval",
    )  # fmt: skip
    axes.plot(expected, rows, "o", mfc="none", mec=BLUE, ms=8, mew=1.4, label="expected from text")
    axes.set_yticks(rows, [f"{item['item']} {item['name']}" for item in items])
    axes.set_ylim(len(items) - 0.4, -0.6)
    axes.set_xlim(0, 3)
    axes.set_xticks([0, 1, 2, 3])
    axes.set_xlabel("Mean answer, 0 to 3")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2, handlelength=1.2)
    words = ", ".join(
        f"{item['name']} {item['answer']['value']:.2f} and {item['expected']:.2f}" for item in items
    )
    return _svg(figure, name, f"Mean answer to each item, given and expected: {words}.")


@mpl.rc_context(STYLE)
def profile(name: str, person: str, chances: Array, answers: Sequence[int | None]) -> str:
    """One person's profile: the chance of each answer to each item, and what was answered.

    Args:
        name: of the figure, unique in the page.
        person: how the page calls the person.
        chances: of the answers 0 to 3, shape (items, 4).
        answers: what the person answered; None where an item was left out.
    """
    figure, axes = _axes(2.7)
    rows, expected = np.arange(len(chances)), chances @ np.arange(4)
    start = np.zeros(len(chances))
    for answer, shade in enumerate(ANSWER_SHADES):
        axes.barh(rows, chances[:, answer], left=start, color=shade, height=0.72,
                  edgecolor="white", lw=0.5, label=str(answer))  # fmt: skip
        start += chances[:, answer]
    middle = np.cumsum(chances, axis=1) - chances / 2
    marks = [(middle[row, answer], row) for row, answer in enumerate(answers) if answer is not None]
    if marks:
        axes.plot(*zip(*marks, strict=True), "D", color=ORANGE, ms=5, mec="white", mew=0.7,
                  label="answered")  # fmt: skip
    names = [f"{row + 1} {ITEMS[row]}  {expected[row]:.1f}" for row in rows]
    axes.set_yticks(rows, names)
    axes.set_ylim(len(chances) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Chance of each answer")
    axes.legend(loc="lower center", bbox_to_anchor=(0.35, 1.0), ncols=5, handlelength=1.0,
                columnspacing=1.0)  # fmt: skip
    words = ", ".join(f"{ITEMS[row]} {value:.1f}" for row, value in enumerate(expected))
    return _svg(figure, name, f"Profile of {person}, expected answers: {words}.")
