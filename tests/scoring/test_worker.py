"""People are read longest first, and their estimates come in their own order all the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, turn_rows

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.errors import LeadlineError
from leadline.heads.calibration import Calibrated, Calibration
from leadline.phq9.items import TOTALS
from leadline.runs.checkpoint import run_identity
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.scoring.blocks import index_cohort
from leadline.scoring.config import ScoreConfig
from leadline.scoring.parts import open_parts
from leadline.scoring.score import score_cohort
from leadline.scoring.worker import Scorer, Work, score_people
from leadline.tables import ESTIMATES


class ByName(AdaptedModel):
    """An estimate that tells whose it is and of which turn; notes how many were read at once."""

    batches: list[int] = []  # noqa: RUF012  one list for the tests of this file

    def estimates(self, people, spans):
        self.batches.append(len({span.person for span in spans}))
        rows = [(int(people[s.person].person_id[1:]) * 7 + s.last * 3) % TOTALS for s in spans]
        return Calibrated(np.array(rows, dtype=float), np.full(len(rows), 1e-3))


PLAIN = Calibration(centre=9, stretch=1, half_words=1, widen=1, few_words=1)
ENSEMBLE = Ensemble((Member(0, 0, ByName(None, PLAIN, True)),), {}, None, "mean")


def people_with(turns):
    """A person for each number of user turns; the longer ones have more to say."""
    rows = []
    for number, count in enumerate(turns):
        said = [("assistant", 0.0)] + [("user", float(day)) for day in range(count)]
        rows += turn_rows(f"p{number}", said)
    return list(timelines(cohort_of(rows, [])))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(1, 4))
def test_rows_are_in_the_order_of_people_and_of_their_turns(turns, size):
    people = people_with(turns)
    ByName.batches.clear()
    found = score_people(ENSEMBLE, people, WindowConfig(days=0), "m", size)
    expected = [(f"p{n}", turn + 1) for n, count in enumerate(turns) for turn in range(count)]
    assert found.select("person_id", "turn").rows() == expected
    means = [(n * 7 + k * 3) % TOTALS for n, count in enumerate(turns) for k in range(count)]
    assert found["mean"].to_list() == pytest.approx(means)
    assert max(ByName.batches, default=0) <= size


def test_progress_counts_people_batch_by_batch():
    seen = []
    score_people(
        ENSEMBLE, people_with([1, 2, 3, 1, 0]), WindowConfig(), "m", 2,
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_progress_within_a_batch_follows_what_is_read(monkeypatch):
    """Tokens of the first people move the bar before any of them is done."""
    seen = []

    def reads(ensemble, batch, window, model_id, items, progress):
        for tokens in (0, 50, 100):
            progress(tokens, 100)
        return pl.DataFrame(schema=ESTIMATES)

    monkeypatch.setattr("leadline.scoring.worker.running_estimates", reads)
    score_people(
        ENSEMBLE, people_with([0] * 6), WindowConfig(), "m", 4, lambda *call: seen.append(call)
    )
    assert seen == [(0, 6), (2, 6), (4, 6), (4, 6), (4, 6), (5, 6), (6, 6), (6, 6)]


def test_nobody_gives_an_empty_table():
    assert dict(score_people(ENSEMBLE, [], WindowConfig(), "m", 2).schema) == ESTIMATES


def test_a_scorer_makes_the_part_of_a_block_and_counts_it(
    simulated, simulated_path, trained, home, tmp_path
):
    """Its rows are those that `score_cohort` gives for the same people."""
    whole = tmp_path / "whole.parquet"
    score_cohort(simulated_path, trained, whole, ScoreConfig(), home=home)
    index = index_cohort(simulated_path)
    config = ScoreConfig(part_people=25, batch_people=8)
    blocks = list(index.blocks(config.part_people))
    with open_parts(tmp_path / "out.parquet", {}, {}, len(blocks)) as parts:
        scorer = Scorer(Work(simulated_path, trained, parts, 8, True, home))
        counts = [scorer.make(block) for block in blocks]
        tables = [pl.read_parquet(parts.file(block.number)) for block in blocks]
    assert scorer.model_id == run_identity(trained)
    assert sum(count["people"] for count in counts) == simulated.turns["person_id"].n_unique()
    assert [count["estimates"] for count in counts] == [table.height for table in tables]
    assert (
        pl.concat(tables)
        .select("person_id", "turn")
        .equals(pl.read_parquet(whole).select("person_id", "turn"))
    )
    np.testing.assert_allclose(pl.concat(tables)["mean"], pl.read_parquet(whole)["mean"], atol=1e-6)


class NoNumber(ByName):
    """Of one reading no number comes."""

    def estimates(self, people, spans):
        calibrated = super().estimates(people, spans)
        calibrated.location[2] = np.nan
        return calibrated


def test_an_estimate_that_is_none_is_refused_by_file_and_row(
    simulated_path, trained, home, tmp_path
):
    blocks = list(index_cohort(simulated_path).blocks(5))
    out = tmp_path / "out.parquet"
    with open_parts(out, {}, {}, len(blocks)) as parts:
        scorer = Scorer(Work(simulated_path, trained, parts, 1, True, home))
        scorer.ensemble = Ensemble((Member(0, 0, NoNumber(None, PLAIN, True)),), {}, None, "mean")
        with pytest.raises(LeadlineError, match="not finite") as caught:
            scorer.make(blocks[1])
        assert not parts.finished()
    assert (caught.value.file, caught.value.row) == (out, "part 1, row 3")
