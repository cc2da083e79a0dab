"""Teacher labels are bought where they even out the severities, at a price known before."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.support.teacher_cohort import PRICES, config, make_cohort, texts

from leadline.errors import LeadlineError
from leadline.phq9.items import CUTS
from leadline.tables import ESTIMATES
from leadline.teacher.choice import in_turn, last_estimates
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels


def write_estimates(path, means, deviations=None):
    """Two turns a person; the first says the contrary of the last, which counts."""
    rows = []
    for person, mean in means.items():
        gap = (deviations or {}).get(person, 0)
        low, high = max(0, round(mean) - gap), min(27, round(mean) + gap)
        last = [0.0] * 28
        last[low] += 0.5
        last[high] += 0.5
        flat = [1 / 28] * 28
        rows.append({"person_id": person, "turn": 0, "distribution": flat, "mean": 27 - mean})
        rows.append({"person_id": person, "turn": 1, "distribution": last, "mean": mean})
    table = pl.DataFrame(rows, schema={name: ESTIMATES[name] for name in rows[0]})
    absent = {name: kind for name, kind in ESTIMATES.items() if name not in table.columns}
    full = table.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in absent.items())
    full.select(*ESTIMATES).write_parquet(path)
    return path


def odd_people(count):
    """Those of `make_cohort` who have no PHQ-9."""
    return [f"user-{number:04d}-quokka" for number in range(1, count, 2)]


@pytest.fixture
def skewed(tmp_path):
    """100 people without a PHQ-9, of whom few are estimated to be severe, and one is locked."""
    cohort = make_cohort(tmp_path / "c", texts(202), locked=1)
    people = odd_people(200)
    means = [2.0] * 60 + [7.0] * 25 + [12.0] * 9 + [16.0] * 4 + [21.0] * 2
    return cohort, write_estimates(tmp_path / "e.parquet", dict(zip(people, means, strict=True)))


def test_every_beginning_of_the_order_is_as_even_as_can_be():
    people = [f"p{number}" for number in range(20)]
    bands = {person: (0 if number < 14 else 2 if number < 19 else 4)
             for number, person in enumerate(people)}  # fmt: skip
    order = in_turn(people, bands)
    assert sorted(order) == sorted(people)
    sizes = {0: 14, 2: 5, 4: 1}
    for end in range(1, 21):
        counts = {band: sum(bands[person] == band for person in order[:end]) for band in sizes}
        room = [counts[band] for band in sizes if counts[band] < sizes[band]]
        assert max(counts.values()) - min(room, default=max(counts.values())) <= 1


def test_bands_are_those_of_the_last_estimate_rounded_to_a_total(tmp_path):
    means = {"a": 4.4, "b": 4.5, "c": 9.49, "d": 14.6, "e": 27.0, "f": 0.0}
    path = write_estimates(tmp_path / "e.parquet", means)
    bands = {person: item.band for person, item in last_estimates(path, list(means)).items()}
    assert bands == {"a": 0, "b": 1, "c": 1, "d": 3, "e": 4, "f": 0}
    assert CUTS == (5, 10, 15, 20)


def test_the_bands_of_the_chosen_are_even_and_everybody_with_gold_is_rated(
    tmp_path, server, skewed
):
    cohort, estimates = skewed
    chosen = {"limit_people": 20, "choose": "bands", "by_estimates": estimates}
    settings = config(server, "openai", draws=1, **chosen)
    report = label_cohort(cohort, tmp_path / "l", settings)
    counts = {"0-4": 4, "5-9": 5, "10-14": 5, "15-19": 4, "20-27": 2}
    assert report["plan"]["bands"] == counts
    assert (report["plan"]["without_gold"], report["plan"]["available"]) == (20, 100)
    rated = set(read_labels(tmp_path / "l")["person_id"])
    assert len(rated & set(odd_people(202))) == 20
    assert len(rated - set(odd_people(202))) == 101, "everybody with a PHQ-9"
    random = config(server, "openai", dry_run=True, limit_people=20, by_estimates=estimates)
    assert label_cohort(cohort, tmp_path / "r", random)["bands"]["0-4"] > 5, "the control"


def test_a_modest_model_evens_out_the_true_bands():
    """3,000 simulated people, mostly mild; estimates are posterior means of r .6."""
    random = np.random.default_rng(0)
    totals = np.clip(np.round(random.gamma(2.0, 3.6, 3000)), 0, 27)
    error = totals.std() * np.sqrt(1 / 0.6**2 - 1)
    evidence = totals + random.normal(0, error, len(totals))
    prior = np.bincount(totals.astype(int), minlength=28) + 0.5
    chances = prior * np.exp(-0.5 * ((evidence[:, None] - np.arange(28)) / error) ** 2)
    means = chances @ np.arange(28) / chances.sum(axis=1)
    people = [str(row) for row in range(len(totals))]
    bands = dict(zip(people, np.searchsorted(CUTS, means + 0.5, side="right"), strict=True))

    def effective_bands(chosen):
        rows = [int(person) for person in chosen]
        counts = np.bincount(np.searchsorted(CUTS, totals[rows], side="right"), minlength=5)
        shares = counts / counts.sum()
        return np.exp(-(shares * np.log(shares)).sum())

    assert effective_bands(people[:300]) < 3.9
    assert effective_bands(in_turn(people, bands)[:300]) > 4.5


def test_those_of_whom_an_estimate_is_least_sure_come_first(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(20), locked=0)
    people = odd_people(20)
    gaps = dict(zip(people, (1, 5, 2, 9, 3, 0, 4, 8, 7, 6), strict=True))
    path = write_estimates(tmp_path / "e.parquet", dict.fromkeys(people, 13.0), gaps)
    assert last_estimates(path, people)[people[3]].deviation == pytest.approx(9)
    chosen = {"limit_people": 3, "choose": "uncertain", "by_estimates": path, "who": "unlabelled"}
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, **chosen))
    rated = set(read_labels(tmp_path / "l")["person_id"])
    assert rated == {people[row] for row in (3, 7, 8)}


@pytest.mark.parametrize("choose", ["random", "bands"])
def test_a_larger_number_adds_to_a_smaller_one_and_a_seed_draws_others(
    tmp_path, server, skewed, choose
):
    cohort, estimates = skewed
    chosen = {"choose": choose, "by_estimates": estimates, "draws": 1, "who": "unlabelled"}
    rated = {}
    for number, seed in ((10, 0), (30, 0), (10, 1)):
        out = tmp_path / f"{number}-{seed}"
        settings = config(server, "openai", **chosen, limit_people=number, seed=seed)
        label_cohort(cohort, out, settings)
        rated[number, seed] = set(read_labels(out)["person_id"])
    assert len(rated[10, 0]) == 10
    assert rated[10, 0] < rated[30, 0]
    assert rated[10, 1] != rated[10, 0]


def test_the_price_is_known_before_and_a_smaller_plan_buys_no_more_than_it_says(
    tmp_path, server, skewed
):
    cohort, _ = skewed
    chosen = {"draws": 1, "who": "unlabelled", "concurrency": 1, **PRICES}
    plans = []
    server.faults = ["401"]
    with pytest.raises(LeadlineError, match="key"):
        label_cohort(
            cohort, tmp_path / "l", config(server, "openai", **chosen), announce=plans.append
        )
    assert plans[0]["requests"] == 100
    server.bodies.clear()
    few = config(server, "openai", limit_people=10, **chosen)
    label_cohort(cohort, tmp_path / "l", few, announce=plans.append)
    assert plans[1]["requests"] == len(server.bodies) == 10
    assert plans[1]["most_usd"] == pytest.approx(plans[0]["most_usd"] / 10, rel=0.01)
    label_cohort(
        cohort, tmp_path / "l", config(server, "openai", limit_people=15, **chosen),
        announce=lambda plan: plans.append({**plan, "sent": len(server.bodies)}),
    )  # fmt: skip
    assert (plans[2]["requests"], plans[2]["answered"], plans[2]["sent"]) == (5, 10, 10)
    assert plans[2]["expected_output_tokens"] == 5 * 50, "as the answers so far were"
    again = label_cohort(
        cohort, tmp_path / "l", config(server, "openai", limit_people=20, dry_run=True, **chosen)
    )
    assert (again["requests"], again["answered"]) == (5, 15)
    assert len(server.bodies) == 15


def test_a_dry_run_decides_nothing(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
    thought_of = {"draws": 1, "model": "m-2", "reasoning": "low", "dry_run": True}
    label_cohort(cohort, tmp_path / "l", config(server, "openai", **thought_of))
    bought = config(server, "openai", draws=1, model="m-2", reasoning="off")
    assert label_cohort(cohort, tmp_path / "l", bought)["labels"] == 8


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"choose": "bands"}, "--choose bands needs"),
        ({"choose": "uncertain", "limit_people": 5}, "--choose uncertain needs"),
        ({"by_estimates": "e.parquet"}, "--by-estimates without --limit-people"),
        ({"limit_people": 5, "who": "labelled"}, "--who labelled rates none"),
        ({"choose": "worst"}, "--choose"),
        ({"limit_people": -1}, "--limit-people"),
    ],
)
def test_settings_that_choose_nobody_are_refused(change, match):
    with pytest.raises(LeadlineError, match=match):
        LabelConfig(**change)


def test_estimates_that_lack_people_or_are_none_are_refused(tmp_path, skewed):
    _, estimates = skewed
    with pytest.raises(LeadlineError, match="1 of 2 people without a PHQ-9 have no estimate"):
        last_estimates(estimates, ["user-0001-quokka", "stranger"])
    with pytest.raises(LeadlineError, match="No estimates can be read"):
        last_estimates(tmp_path / "absent.parquet", ["a"])
    pl.read_parquet(estimates).drop("lower").write_parquet(tmp_path / "cut.parquet")
    with pytest.raises(LeadlineError, match="'lower'"):
        last_estimates(tmp_path / "cut.parquet", ["a"])
