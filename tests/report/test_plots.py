"""Figures: sound SVG with a text alternative, complete, and without references elsewhere."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from leadline.report import plots

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def parse(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == SVG + "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox")
    assert root.get("width") is None
    for node in root.iter():
        reference = node.get(HREF) or node.get("href") or "#"
        assert reference.startswith(("#", "data:image/png"))
    return root


def words(root: ElementTree.Element) -> str:
    return " ".join("".join(node.itertext()) for node in root.iter(SVG + "text"))


def score(value: float | None, half: float | None = 0.2) -> dict[str, Any]:
    if value is None or half is None:
        return {"value": value, "low": None, "high": None, "reason": "few"}
    return {"value": value, "low": value - half, "high": value + half}


def bands(values: list[float | None]) -> list[dict[str, Any]]:
    names = [("minimal", 0, 4), ("mild", 5, 9), ("moderate", 10, 14)]
    return [
        {"band": n, "low": low, "high": high, "mae": score(v), "bias": score(v)}
        for (n, low, high), v in zip(names, values, strict=True)
    ]


def test_scatter_has_a_mark_for_each_label_and_says_how_many_are_close() -> None:
    gold = np.array([0.0, 5, 10, 20])
    root = parse(plots.scatter("f", gold, gold + np.array([0, 1, -2, -9.0]), 27))
    label = root.get("aria-label") or ""
    assert "4 labels" in label
    assert "75%" in label
    marks = [node for node in root.iter(SVG + "use") if "fill-opacity" in (node.get("style") or "")]
    assert len(marks) == 4
    assert "PHQ-9" in words(root)
    assert "PHQ-8" in words(parse(plots.scatter("f", gold, gold, 24)))


def test_large_scatter_becomes_an_embedded_image() -> None:
    gold = np.tile(np.arange(28.0), 120)
    root = parse(plots.scatter("f", gold, gold, 27))
    images = list(root.iter(SVG + "image"))
    assert len(images) == 1
    assert (images[0].get(HREF) or "").startswith("data:image/png;base64,")


def test_figures_are_the_same_twice_and_ids_bear_the_name() -> None:
    gold = np.arange(20.0)
    first = plots.scatter("one", gold, gold, 27)
    assert first == plots.scatter("one", gold, gold, 27)
    ids = {node.get("id") for node in parse(first).iter() if node.get("id")}
    assert ids
    assert all(str(one).startswith("one-") for one in ids)
    others = parse(plots.scatter("two", gold, gold, 27)).iter()
    assert not ids & {node.get("id") for node in others if node.get("id")}


def test_auc_curve_leaves_out_thresholds_without_a_value() -> None:
    points = [{"threshold": k, **score(0.9 if k < 20 else None, 0.03)} for k in range(3, 25)]
    ceiling = [{"threshold": k, "value": 0.95} for k in range(3, 25)]
    root = parse(plots.auc_curve("f", points, ceiling, 10))
    label = root.get("aria-label") or ""
    assert "19: 0.90" in label
    assert "20:" not in label
    assert "ceiling" in words(root)
    assert "ceiling" not in words(parse(plots.auc_curve("f", points, [], 10)))


def test_auc_curve_without_intervals_can_be_drawn() -> None:
    points = [{"threshold": k, **score(0.6, None)} for k in range(3, 25)]
    assert "24: 0.60" in (parse(plots.auc_curve("f", points, [], 10)).get("aria-label") or "")


@pytest.mark.parametrize("values", [[2.0, 3.0, 4.0], [2.0, None, 4.0], [None, None, 1.0]])
def test_band_errors_name_every_band_and_describe_those_with_a_value(values) -> None:
    root = parse(plots.band_errors("f", bands(values)))
    shown = words(root)
    assert all(name in shown for name in ("minimal", "mild", "moderate"))
    assert (root.get("aria-label") or "").count("MAE") == sum(v is not None for v in values)


def test_dialogue_errors_have_a_panel_for_each_measure() -> None:
    bins = [{"from": 1.0, "to": 1.0, "mae": score(3.0)}, {"from": 2.0, "to": 9.0, "mae": score(2)}]
    both = words(parse(plots.dialogue_errors("f", {"user_turns": bins, "user_words": bins})))
    assert "User turns" in both
    assert "User words" in both
    one = parse(plots.dialogue_errors("f", {"user_words": bins}))
    assert "User turns" not in words(one)
    assert "2 to 9: 2.0" in (one.get("aria-label") or "")


def test_uncertainty_figures_describe_their_numbers() -> None:
    intervals = [
        {"level": level, "coverage": score(level / 100), "claimed": 0.95, "width": 9.0}
        for level in (50, 80, 90)
    ]
    coverage = parse(plots.coverage("f", intervals)).get("aria-label") or ""
    assert "90%: held 90%, claimed 95%" in coverage
    assert "2.00" in (parse(plots.pit("f", [0.2, *[0.8 / 9] * 9])).get("aria-label") or "")
    bins = [{"forecast": 0.1, "outcome": score(0.2)}, {"forecast": 0.9, "outcome": score(0.8)}]
    reliability = parse(plots.reliability("f", bins, "a total of 15 or more"))
    assert "15 or more" in words(reliability)
    assert "10% to 20%" in (reliability.get("aria-label") or "")
    calibration = [{"forecast": 4.0, "outcome": score(3.0)}]
    assert "4.0 to 3.0" in (parse(plots.calibration("f", calibration, 27)).get("aria-label") or "")


def test_forest_fills_what_excludes_zero_and_escapes_names() -> None:
    rows = [{"model": 'a "b" & <c>', **score(1.0)}, {"model": "near", **score(0.1)}]
    root = parse(plots.forest("f", rows, "leadline", "MAE"))
    assert 'a "b" & <c> +1.00' in (root.get("aria-label") or "")
    assert 'a "b" & <c>' in words(root)
    assert "MAE minus that of leadline" in words(root)
    white = [n for n in root.iter(SVG + "use") if "fill: #ffffff" in (n.get("style") or "")]
    assert len(white) == 1


def test_course_draws_turns_and_gold_and_tells_the_course() -> None:
    steps = {
        "mean": np.array([10.0, 12, 8]),
        "lower": np.array([5.0, 7, 3]),
        "upper": np.array([15.0, 17, 13]),
        "increment": np.array([np.nan, 2, -4]),
        "departure": np.array([0.0, 0, -5]),
    }
    root = parse(plots.course("f", "Person 1", steps, [(2, 11.0), (3, 9.0)]))
    label = root.get("aria-label") or ""
    assert "from 10.0 after the first user turn to 8.0 after 3" in label
    assert "11 after 2 turns, 9 after 3 turns" in label
    assert "Turn 2 moved it most, by +2.0" in label
    hollow = [
        n
        for n in root.iter(SVG + "path")
        if "fill: none; stroke: #5b6875; stroke-width: 1.1" in (n.get("style") or "")
    ]
    assert len(hollow) == 1, "one turn at which something left"
    none = parse(plots.course("f", "Person 1", steps, []))
    assert "PHQ-9 given: none" in (none.get("aria-label") or "")


def training(steps: int, gold: float, **more: float) -> dict[str, Any]:
    lines = [
        {"step": n, "epoch": n / 10, "gold_loss": gold - n / steps,
         **{key: value - n / steps for key, value in more.items() if n % 2 == 0}}
        for n in range(1, steps + 1)
    ]  # fmt: skip
    return {"format": 1, "unit": "nats", "best_step": None, "lines": lines}


def test_learning_curves_of_all_trainings_lie_over_one_another() -> None:
    curves = [training(200, 3.0, pseudolabel_loss=2.0), training(200, 4.0, pseudolabel_loss=2.5)]
    root = parse(plots.learning_curves("learning", curves))
    alone = parse(plots.learning_curves("learning", curves[:1]))
    label = root.get("aria-label") or ""
    assert "2 trainings" in label
    assert "PHQ-9s: 3.49 at first, 2.51 at last; pseudolabels: 2.23" in label
    assert "set aside" not in label
    assert "Loss (nats)" in words(root)
    paths = [sum(node.get("clip-path") is not None for node in r.iter(SVG + "path"))
             for r in (alone, root)]  # fmt: skip
    assert paths == [2, 4]


def test_a_line_of_a_long_training_has_few_points() -> None:
    lines = training(5000, 3.0)["lines"]
    course = plots._smoothed(lines, "gold_loss")
    assert course.shape == (40, 2)
    assert course[:, 1].mean() == pytest.approx(np.mean([line["gold_loss"] for line in lines]))
    assert len(plots._smoothed(lines, "held_out_loss")) == 0


def test_items_are_drawn_as_given_and_as_expected() -> None:
    items = [{"item": 3, "name": "sleep", "answer": score(1.5), "expected": 1.25}]
    root = parse(plots.item_means("f", items))
    assert "3 sleep" in words(root)
    assert "sleep 1.50 and 1.25" in (root.get("aria-label") or "")


def test_a_profile_names_each_item_with_its_expected_answer() -> None:
    chances = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    root = parse(plots.profile("f", "Person 1", chances, [1, None]))
    assert "anhedonia 0.5, low mood 3.0" in (root.get("aria-label") or "")
    assert "answered" in words(root)
    assert "answered" not in words(parse(plots.profile("f", "Person 1", chances, [None, None])))
