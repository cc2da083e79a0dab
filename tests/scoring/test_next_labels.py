import stat
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.monitored import tiny_run

from leadline.errors import LeadlineError
from leadline.runs.prior import PriorConfig, prior_run
from leadline.scoring.next_labels import ASKS, AskConfig, _share_left, ask_next


@pytest.fixture(scope="module")
def prior(simulated, sentence_reader, home, tmp_path_factory):
    run = tmp_path_factory.mktemp("asking") / "run"
    prior_run(run, PriorConfig(reader=str(sentence_reader)), on=simulated, home=home)
    return run


@pytest.fixture(scope="module")
def half(simulated):
    """People of whom half have no PHQ-9 any more."""
    names = sorted(set(simulated.phq9["person_id"]))[::2]
    return replace(simulated, phq9=simulated.phq9.filter(pl.col("person_id").is_in(names)))


def test_it_asks_people_without_a_phq9_and_none_of_the_locked(prior, half, home, tmp_path):
    counts = ask_next(half, prior, tmp_path / "asks.csv", AskConfig(count=10), home=home)
    table = pl.read_csv(tmp_path / "asks.csv", schema_overrides=ASKS)
    asked = set(table["person_id"])
    assert counts["asked"] == table.height == len(asked) == 10
    assert not asked & (set(half.phq9["person_id"]) | half.locked_ids)
    assert table["order"].to_list() == list(range(1, 11))
    assert stat.S_IMODE((tmp_path / "asks.csv").stat().st_mode) == 0o600
    assert 0 < counts["unknown_left"] < 1


def test_the_lot_has_the_chance_that_is_written_beside_it(prior, half, home, tmp_path):
    drawn: dict[str, int] = {}
    for seed in range(40):
        config = AskConfig(count=10, lot=0.5, seed=seed)
        counts = ask_next(half, prior, tmp_path / "a.csv", config, overwrite=True, home=home)
        table = pl.read_csv(tmp_path / "a.csv", schema_overrides=ASKS)
        lot = table.filter(pl.col("how") == "lot")
        for name in lot["person_id"]:
            drawn[name] = drawn.get(name, 0) + 1
    chance = 5 / (counts["people"] - 5)
    np.testing.assert_allclose(lot["propensity"], chance)
    by_information = table.filter(pl.col("how") == "information")
    assert set(by_information["propensity"]) == {1.0}
    assert not set(by_information["person_id"]) & set(drawn)
    assert sum(drawn.values()) == 40 * 5


def test_where_more_are_wanted_than_there_are_the_lot_keeps_its_share(prior, half, home, tmp_path):
    counts = ask_next(half, prior, tmp_path / "a.csv", AskConfig(count=9999), home=home)
    assert counts["asked"] == counts["people"]
    assert counts["lot"] == round(0.2 * counts["people"])


def test_what_is_left_unknown_is_what_the_process_would_leave():
    root = np.random.default_rng(0).normal(size=(12, 12))
    covariance, noise, rows = root @ root.T, 3.0, [1, 5]
    kept = covariance.copy()
    for row in rows:
        column = kept[:, row].copy()
        kept -= np.outer(column, column) / (column[row] + noise)
    left = np.trace(kept) / np.trace(covariance)
    assert _share_left(covariance, noise, rows) == pytest.approx(left)


def test_nobody_to_ask_and_a_run_that_does_not_know_are_refused(
    prior, sentence_reader, half, simulated, home, tmp_path
):
    everybody = simulated.phq9.filter(~pl.col("person_id").is_null())
    only = half.turns.filter(pl.col("person_id").is_in(half.phq9["person_id"].implode()))
    with pytest.raises(LeadlineError, match="Nobody is left"):
        ask_next(replace(simulated, turns=only, phq9=everybody), prior, tmp_path / "a", home=home)
    ridge = tiny_run(tmp_path, simulated, sentence_reader)
    with pytest.raises(LeadlineError, match="No model of this run"):
        ask_next(half, ridge, tmp_path / "a", home=home)


def test_of_many_people_some_are_compared_and_the_lot_is_of_all(
    prior, half, home, tmp_path, monkeypatch
):
    monkeypatch.setattr("leadline.scoring.next_labels.MOST_PEOPLE", 8)
    config = AskConfig(count=10, lot=0.4)
    counts = ask_next(half, prior, tmp_path / "a.csv", config, home=home)
    table = pl.read_csv(tmp_path / "a.csv", schema_overrides=ASKS)
    assert table.height == counts["asked"] == 10
    lot = table.filter(pl.col("how") == "lot")
    np.testing.assert_allclose(lot["propensity"], 4 / (counts["people"] - 6))
