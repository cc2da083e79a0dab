"""Self-training on real check-ins: the labels of half the people hidden.

200 people wrote about two weeks and answered a PHQ-9. Half keep their labels; the others are
people without a PHQ-9 whom the student pseudolabels, alone or together with a local teacher
(`checkin_teachers.py`). Their hidden labels are the test: nobody of them was ever trained on
with their own label, and a final model that was fitted on someone's pseudolabel does not
estimate that person.

    python bench/selftrain_checkins.py [--reader minilm] [--draws 4] [--chat 20]

Needs the readers minilm and smollm2 and, but with --no-server, fastapi and uvicorn. With
--keep FOLDER the ratings of the server are kept there and not asked for again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from checkin_teachers import (
    ANCHORS,
    DECISIONS,
    WINDOW,
    agreement,
    anchor_ratings,
    chat_answers,
    decision_ratings,
    readings_of,
    write_labels,
)
from checkins import CheckIn, load_checkins, save
from leadline.cohort.store import read_cohort, write_cohort
from leadline.cohort.timeline import timelines
from leadline.runs.config import TrainConfig
from leadline.scoring.score import score_cohort
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fusion import fuse_estimates
from leadline.selftrain.selftrain import selftrain_run
from leadline.tables import PHQ9, TURNS
from leadline.teacher.label_table import read_labels
from local_teacher import MODEL, serve

RESAMPLES = 4000
GOLD_ONLY, STUDENT = "gold only", "round 1, student alone"
TEACHERS = {ANCHORS: "anchors", DECISIONS: "decisions"}


def write_half(people: list[CheckIn], shown: np.ndarray, folder: Path) -> Path:
    """A cohort in which only the people marked in `shown` have their PHQ-9."""
    turns = [
        (person.person, person.person, number, message.role, message.text, None)
        for person in people
        for number, message in enumerate(person.messages)
        if message.text.strip()
    ]
    gold = [
        {"person_id": person.person, "total": person.total, "instrument": "phq9"}
        for person, mine in zip(people, shown, strict=True)
        if mine
    ]
    names = [person.person for person in people]
    write_cohort(
        folder,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(gold, schema=PHQ9),
        pl.DataFrame({"person_id": names, "locked": [False] * len(names)}),
        command="bench", settings={}, inputs={},
    )  # fmt: skip
    return folder


def last_estimates(scores: pl.DataFrame, hidden: list[str]) -> np.ndarray:
    """The final estimate of each hidden person."""
    last = scores.group_by("person_id", maintain_order=True).last()
    said = dict(last.select("person_id", "mean").iter_rows())
    return np.array([said[name] for name in hidden])


def one_draw(
    people: list[CheckIn], seed: int, reader: str, labels: dict[str, Path]
) -> dict[str, Any]:
    """Errors for the hidden half of one draw, by arm; and what the rules would have kept."""
    random = np.random.default_rng(seed)
    shown = np.zeros(len(people), dtype=bool)
    shown[random.permutation(len(people))[: len(people) // 2]] = True
    hidden = [p.person for p, mine in zip(people, shown, strict=True) if not mine]
    total = np.array([p.total for p, mine in zip(people, shown, strict=True) if not mine])
    train = TrainConfig(reader=reader, seed=seed, baselines=False)
    # Without rules that would stop it, so that the round's own effect is measured.
    forced = SelftrainConfig(rounds=1, canary=0, min_gain=-1e9, min_variance=0.0,
                             min_slope=-1e9, max_slope=1e9, ablation=False)  # fmt: skip
    ruled = SelftrainConfig(rounds=1, canary=0, ablation=False)
    arms: dict[str, tuple[Path | None, SelftrainConfig]] = {
        GOLD_ONLY: (None, SelftrainConfig(rounds=0, canary=0)),
        STUDENT: (None, forced),
        **{f"round 1, student and {TEACHERS[name]}": (path, forced)
           for name, path in labels.items()},
    }  # fmt: skip
    errors: dict[str, np.ndarray] = {}
    kept = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = read_cohort(write_half(people, shown, folder / "cohort"))
        for number, (arm, (teacher, config)) in enumerate(arms.items()):
            run, file = folder / f"run-{number}", folder / f"scores-{number}.parquet"
            selftrain_run(cohort, teacher, run, config, train, WINDOW)
            score_cohort(cohort, run, file)
            scores = pl.read_parquet(file)
            errors[arm] = np.abs(last_estimates(scores, hidden) - total)
            if teacher is not None:
                fused, _ = fuse_estimates(run, scores, read_labels(teacher))
                errors[arm.replace("round 1, student and", "fused with")] = np.abs(
                    last_estimates(fused, hidden) - total
                )
            if config is forced:
                found = selftrain_run(
                    cohort, teacher, folder / f"ruled-{number}", ruled, train, WINDOW
                )
                kept[arm] = found["selftraining"]["kept"]
    return {"row": np.flatnonzero(~shown), "errors": errors, "kept": kept}


def compared(draws: list[dict[str, Any]], people: int) -> dict[str, dict[str, Any]]:
    """MAE of each arm and its paired difference from gold only, bootstrap over people."""
    picks = np.random.default_rng(0).integers(0, people, (RESAMPLES, people))
    out = {}
    for arm in draws[0]["errors"]:
        gap, count = np.zeros(people), np.zeros(people)
        for draw in draws:
            gap[draw["row"]] += draw["errors"][arm] - draw["errors"][GOLD_ONLY]
            count[draw["row"]] += 1
        drawn = gap[picks].sum(axis=1) / count[picks].sum(axis=1)
        mean = float(np.mean([draw["errors"][arm].mean() for draw in draws]))
        out[arm] = {"mae": round(mean, 3)}
        if arm != GOLD_ONLY:
            ends = np.quantile(drawn, [0.025, 0.975])
            out[arm] |= {
                "minus_gold_only": round(float(gap.sum() / count.sum()), 3),
                "interval_95": [round(float(x), 3) for x in ends],
            }
        if arm in draws[0]["kept"]:
            out[arm]["kept_by_the_rules"] = int(sum(draw["kept"][arm] for draw in draws))
    return out


def asked(cohort_dir: Path, chat: int, tokens: int, keep: Path) -> Any:
    """Ratings by the server: the chat's states, and probabilities (people, 9, 4)."""
    file = keep / "ratings.json"
    if not file.is_file():
        with serve(MODEL) as server:
            start = time.perf_counter()
            items = decision_ratings(server, readings_of(read_cohort(cohort_dir)))
            seconds = round(time.perf_counter() - start)
            states = chat_answers(server, cohort_dir, chat, tokens) if chat else None
        found = {"items": items.tolist(), "seconds": seconds, "chat": states}
        file.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def main() -> None:
    """Rate, train on halves, compare, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", default="minilm")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--chat", type=int, default=20, help="people asked by the rubric's JSON")
    parser.add_argument("--chat-tokens", type=int, default=400)
    parser.add_argument("--no-server", dest="server", action="store_false", help="anchors alone")
    parser.add_argument("--keep", type=Path, help="folder for the server's ratings")
    args = parser.parse_args()
    people = load_checkins()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keep = args.keep or folder
        cohort_dir = write_half(people, np.ones(len(people), dtype=bool), folder / "cohort")
        cohort = read_cohort(cohort_dir)
        readings = readings_of(cohort)
        layers = anchor_ratings(readings, list(timelines(cohort)))
        labels = {ANCHORS: write_labels(folder / "a", readings, ANCHORS, layers, None)}
        teachers: dict[str, Any] = {"anchors": agreement(people, readings, layers.mean(axis=1))}
        if args.server:
            served = asked(cohort_dir, args.chat, args.chat_tokens, keep)
            chances = np.array(served["items"])
            totals = (chances @ np.arange(4)).sum(axis=1, keepdims=True)
            items = chances.argmax(axis=2)
            labels[DECISIONS] = write_labels(folder / "d", readings, DECISIONS, totals, items)
            teachers["decisions"] = {
                **agreement(people, readings, totals[:, 0]),
                "people": len(readings),
                "seconds": served["seconds"],
            }
            teachers["chat"] = served["chat"]
        draws = [one_draw(people, seed, args.reader, labels) for seed in range(args.draws)]
    report = {
        "seconds": round(time.perf_counter() - start),
        "reader": args.reader,
        "draws": len(draws),
        "teachers": teachers,
        "arms": compared(draws, len(people)),
    }
    save("selftrain_checkins", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
