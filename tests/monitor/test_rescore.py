"""Another run reads the whole store beside the live one, and is shown when it is promoted."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select
from tests.support.monitored import (
    assert_as_scored,
    labelled,
    load,
    scored,
    scorer_of,
    tiny_run,
    work_off,
)
from tests.support.stores import said, send

from leadline.errors import LeadlineError
from leadline.monitor.rescore import rescore
from leadline.monitor.texts import SealedTexts
from leadline.runs.checkpoint import run_identity
from leadline.scoring import score
from leadline.store import times
from leadline.store.models import live_model, models, promote
from leadline.store.people import external_id
from leadline.store.schema import estimate, message


@pytest.fixture(scope="module")
def other_run(tmp_path_factory, simulated, sentence_reader):
    """A run on other people, so that its estimates differ."""
    names = labelled(simulated)
    return tiny_run(
        tmp_path_factory.mktemp("other"), simulated, sentence_reader, names[:6] + names[18:]
    )


def estimates_of(store, run):
    query = (
        select(estimate)
        .where(estimate.c.model_id == run_identity(run), estimate.c.superseded_at.is_(None))
        .order_by(estimate.c.person_id, estimate.c.time, estimate.c.seq)
    )
    return store.database.read(lambda c: list(c.execute(query).mappings()))


def test_a_shadow_is_what_leadline_score_says_and_changes_nothing_that_is_shown(
    live, monitor_run, other_run, spread_cohort, tmp_path
):
    load(live, spread_cohort)
    scorer = scorer_of(live, monitor_run, tmp_path)
    work_off(scorer)
    scorer.close()
    shown = estimates_of(live, monitor_run)
    counts = rescore(live, other_run, home=other_run.parent / "home")
    assert counts["estimates"] == len(shown)
    assert estimates_of(live, monitor_run) == shown
    assert [row["window_words"] for row in estimates_of(live, other_run)] == [
        row["window_words"] for row in shown
    ]
    model = live.database.read(live_model)["model_id"]
    assert model == run_identity(monitor_run)
    live.database.write(lambda c: promote(c, run_identity(other_run), times.now()))
    assert_as_scored(live, scored(spread_cohort, other_run, tmp_path))
    statuses = {row["model_id"]: row["status"] for row in live.database.read(models)}
    assert statuses == {model: "retired", run_identity(other_run): "live"}


def test_what_changes_while_the_shadow_reads_is_read_when_it_is_promoted(
    sqlite_live, monitor_run, other_run, spread_cohort, tmp_path
):
    """A message comes late while the other run reads: its estimates from there on are not used."""
    load(sqlite_live, spread_cohort)
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path / "old")
    work_off(scorer)
    query = select(message).where(message.c.role == "user").order_by(message.c.time)
    rows = sqlite_live.database.read(lambda c: list(c.execute(query).mappings()))
    middle = rows[len(rows) // 2]
    late = replace(
        said("late", "I cannot go on like this.", person="?"), time=int(middle["time"]) + 1
    )

    class Texts(SealedTexts):
        came = False

        def read(self, stored, messages):
            texts = super().read(stored, messages)
            if not self.came and stored.id == middle["person_id"]:
                self.came = True
                item = replace(late, person=external_id(stored))
                assert send(sqlite_live, item)[0].status == "stored"
            return texts

    rescore(sqlite_live, other_run, texts=Texts(), home=other_run.parent / "home")
    sqlite_live.database.write(lambda c: promote(c, run_identity(other_run), times.now()))
    scorer.close()
    new = scorer_of(sqlite_live, other_run, tmp_path / "new")
    work_off(new)
    new.close()
    live_seqs = {
        (row["person_id"], row["seq"])
        for row in sqlite_live.database.read(lambda c: list(c.execute(query).mappings()))
    }
    found = estimates_of(sqlite_live, other_run)
    assert {(row["person_id"], row["seq"]) for row in found} == live_seqs
    means = {(row["person_id"], row["seq"]): row["mean"] for row in found}
    rescore(sqlite_live, other_run, home=other_run.parent / "home")
    for row in estimates_of(sqlite_live, other_run):
        np.testing.assert_allclose(row["mean"], means[(row["person_id"], row["seq"])], atol=1e-5)


def test_twice_is_the_same_and_a_broken_run_leaves_no_transcript(
    sqlite_live, monitor_run, spread_cohort, tmp_path, monkeypatch
):
    load(sqlite_live, spread_cohort)
    home = monitor_run.parent / "home"
    first = rescore(sqlite_live, monitor_run, home=home)
    means = [row["mean"] for row in estimates_of(sqlite_live, monitor_run)]
    assert rescore(sqlite_live, monitor_run, home=home) == first
    assert [row["mean"] for row in estimates_of(sqlite_live, monitor_run)] == means
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen = []

    def fail(cohort, *how, **also):
        seen.extend(scratch.rglob("turns*"))
        raise LeadlineError("no", remedy="none")

    monkeypatch.setattr(score, "score_cohort", fail)
    with pytest.raises(LeadlineError, match="no"):
        rescore(sqlite_live, monitor_run, home=home)
    assert seen  # the transcript had been written there
    assert not list(scratch.iterdir())
