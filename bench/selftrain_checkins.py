"""Self-training on real check-ins: the labels of half the people hidden.

200 people wrote about two weeks and answered a PHQ-9. Half keep their labels; the others are
people without a PHQ-9 whom the student pseudolabels, no teacher being there. Their hidden
labels are the test: nobody of them was ever trained on with their own label, and a final
model that was fitted on someone's pseudolabel does not estimate that person.

    python bench/selftrain_checkins.py [--reader minilm] [--draws N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from checkins import RESULTS, CheckIn, load_checkins
from leadline.config import WindowConfig
from leadline.dialogue.schema import PHQ9, TURNS
from leadline.dialogue.store import read_cohort, write_cohort
from leadline.estimator.run import load_ensemble
from leadline.estimator.score import score_cohort
from leadline.estimator.settings import TrainConfig
from leadline.selftrain.run import selftrain_run
from leadline.selftrain.settings import SelftrainConfig

RESAMPLES = 2000


def write_half(people: list[CheckIn], shown: np.ndarray, folder: Path) -> None:
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


def hidden_estimates(run: Path, cohort_dir: Path, hidden: list[str]) -> np.ndarray:
    """The run's final estimate of each hidden person, by models that never saw them."""
    load_ensemble(run)
    scores = run / "scores.parquet"
    score_cohort(read_cohort(cohort_dir), run, scores, overwrite=True)
    last = pl.read_parquet(scores).group_by("person_id", maintain_order=True).last()
    said = dict(last.select("person_id", "mean").iter_rows())
    return np.array([said[name] for name in hidden])


def one_draw(people: list[CheckIn], seed: int, reader: str) -> dict[str, np.ndarray]:
    """Errors of gold only and of one round for the hidden half of one draw."""
    random = np.random.default_rng(seed)
    shown = np.zeros(len(people), dtype=bool)
    shown[random.permutation(len(people))[: len(people) // 2]] = True
    hidden = [p.person for p, mine in zip(people, shown, strict=True) if not mine]
    total = np.array([p.total for p, mine in zip(people, shown, strict=True) if not mine])
    train = TrainConfig(reader=reader, seed=seed, baselines=False)
    out = {"row": np.flatnonzero(~shown)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_half(people, shown, folder / "cohort")
        cohort = read_cohort(folder / "cohort")
        # Without rules that would stop it, so that the round's own effect is measured.
        forced = SelftrainConfig(rounds=1, canary=0, min_gain=-1e9, min_variance=0.0,
                                 min_slope=-1e9, max_slope=1e9)  # fmt: skip
        for model, config in (("gold only", SelftrainConfig(rounds=0, canary=0)),
                              ("round 1, student alone", forced)):  # fmt: skip
            run = folder / model.replace(" ", "-")
            selftrain_run(cohort, None, run, config, train, WindowConfig(days=0))
            said = hidden_estimates(run, folder / "cohort", hidden)
            out[model] = np.abs(said - total)
        ruled = selftrain_run(
            cohort, None, folder / "ruled", SelftrainConfig(rounds=1, canary=0), train,
            WindowConfig(days=0),
        )  # fmt: skip
        out["kept"] = np.array([ruled["selftraining"]["kept"]])
    return out


def main() -> None:
    """Average over draws of the half, bootstrap over people, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", default="minilm")
    parser.add_argument("--draws", type=int, default=4)
    args = parser.parse_args()
    people = load_checkins()
    start = time.perf_counter()
    draws = [one_draw(people, seed, args.reader) for seed in range(args.draws)]
    gap, count = np.zeros(len(people)), np.zeros(len(people))
    for draw in draws:
        gap[draw["row"]] += draw["round 1, student alone"] - draw["gold only"]
        count[draw["row"]] += 1
    picks = np.random.default_rng(0).integers(0, len(people), (RESAMPLES, len(people)))
    drawn = gap[picks].sum(axis=1) / count[picks].sum(axis=1)
    report = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, "
        f"Python {platform.python_version()}",
        "command": " ".join(["python", "bench/selftrain_checkins.py", *sys.argv[1:]]),
        "seconds": round(time.perf_counter() - start),
        "draws": len(draws),
        "mae": {
            name: round(float(np.mean([draw[name].mean() for draw in draws])), 3)
            for name in ("gold only", "round 1, student alone")
        },
        "round_1_minus_gold_only": round(float(gap.sum() / count.sum()), 3),
        "interval_95": [round(float(x), 3) for x in np.quantile(drawn, [0.025, 0.975])],
        "draws_in_which_the_rules_kept_round_1": int(sum(draw["kept"][0] for draw in draws)),
    }
    text = json.dumps(report, indent=2)
    (RESULTS / "selftrain_checkins.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
