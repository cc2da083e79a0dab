import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support.cohorts import cohort_of, files_of, some_people, turn_rows
from tests.support.readers import tiny_reader

from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_people
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.profiles.profile import profile_schema
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.estimates import batched, running_estimates
from leadline.runs.train import finetune_config, train_run
from leadline.scoring.config import ScoreConfig
from leadline.scoring.score import score_cohort
from leadline.tables import ESTIMATES

WINDOW = WindowConfig()
NUMBERS = ["mean", "median", "lower", "upper", "p_ge_10", "increment", "departure"]


@pytest.fixture(scope="module")
def scored(trained, simulated, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "estimates.parquet"
    counts = score_cohort(simulated, trained, out, home=home)
    return counts, pl.read_parquet(out), out


@pytest.fixture(scope="module")
def ensemble(trained, home):
    return load_ensemble(trained, home=home)[0]


def assert_same(one, other):
    """Equal but for the last bits, which the shape of a matrix product decides."""
    keys = ["person_id", "conversation_id", "turn", "time", "model_id"]
    assert one.select(keys).equals(other.select(keys))
    np.testing.assert_allclose(one.select(NUMBERS), other.select(NUMBERS), atol=1e-9, rtol=0)


def renamed(cohort):
    """The same text of people of whom no ledger knows."""
    new = pl.concat_str(pl.lit("new-"), "person_id").alias("person_id")
    tables = {name: getattr(cohort, name).with_columns(new) for name in ("turns", "phq9", "people")}
    return replace(cohort, **tables)


def test_there_is_an_estimate_after_every_user_turn(scored, simulated):
    counts, estimates, _ = scored
    said = simulated.turns.filter(pl.col("role") == "user")
    keys = ["person_id", "conversation_id", "turn"]
    assert estimates.select(keys).equals(said.select(keys))
    assert estimates["time"].equals(said["time"])
    assert estimates.schema == pl.Schema(ESTIMATES)
    assert counts == {
        "people": said["person_id"].n_unique(), "silent": 0, "trained_on": 0,
        "estimates": estimates.height,
    }  # fmt: skip


def test_training_people_get_what_the_run_said_of_them(scored, trained):
    _, estimates, _ = scored
    own = pl.read_parquet(trained / "estimates.parquet")
    again = estimates.filter(pl.col("person_id").is_in(own["person_id"].unique().to_list()))
    assert_same(again, own)


def spoiled(ensemble, person):
    """The ensemble with nonsense in every model that saw the person."""
    unseen = ensemble.members_for(person)
    members = tuple(
        member
        if row in unseen
        else replace(
            member,
            model=replace(
                member.model,
                calibration=replace(
                    member.model.calibration, centre=-500.0, widths=(0.999,) * 19, stretch=0.0
                ),
            ),
        )
        for row, member in enumerate(ensemble.members)
    )
    return replace(ensemble, members=members)


def test_a_training_person_is_estimated_only_by_models_that_never_saw_them(ensemble, simulated):
    everyone = {timeline.person_id: timeline for timeline in timelines(simulated)}
    for person in sorted(ensemble.left_out)[:6]:
        assert len(ensemble.members_for(person)) == 2, "one a repeat"
        batch = [everyone[person]]
        before = running_estimates(ensemble, batch, WINDOW, "m")
        assert running_estimates(spoiled(ensemble, person), batch, WINDOW, "m").equals(before)
        stranger = [replace(everyone[person], person_id="stranger")]
        assert ensemble.members_for("stranger") == tuple(range(6))
        plain = running_estimates(ensemble, stranger, WINDOW, "m")
        after = running_estimates(spoiled(ensemble, person), stranger, WINDOW, "m")
        assert not plain["mean"].equals(before["mean"])
        assert (after["mean"] - plain["mean"]).abs().min() > 1


def test_a_fold_that_left_the_person_out_did_so_in_training(ensemble, trained):
    predictions = pl.read_parquet(trained / "predictions.parquet")
    rows = predictions.filter((pl.col("model") == "leadline") & (pl.col("fold") >= 0))
    for person, repeat, fold in rows.select("person_id", "repeat", "fold").iter_rows():
        members = [ensemble.members[row] for row in ensemble.members_for(person)]
        assert (repeat, fold) in {(member.repeat, member.fold) for member in members}


def test_increments_add_up_to_the_estimate(scored, ensemble):
    _, estimates, _ = scored
    for (person,), rows in estimates.group_by("person_id"):
        centre = ensemble.centre(person)
        np.testing.assert_allclose(
            centre + rows["increment"].cum_sum(), rows["mean"], atol=1e-12, rtol=0
        )


def test_what_leaves_the_window_is_kept_apart_from_what_arrives(ensemble):
    # The first two turns leave as the third comes; all of them have left before the fourth.
    people = list(timelines(cohort_of(turn_rows("p", [("user", d) for d in (0, 1, 16, 40)]), [])))
    table = running_estimates(ensemble, people, WINDOW, "m")
    states = ensemble.source.read(people)

    def mean(first, last):
        spans = [Span(0, first, last)]
        return float(ensemble.distributions(people, states, spans).mean()[0])

    centre = ensemble.centre("p")
    want = [0.0, 0.0, centre - mean(0, 1), centre - mean(2, 2)]
    np.testing.assert_allclose(table["departure"], want, atol=1e-12)
    assert max(map(abs, want)) > 0.01
    total = centre + table["increment"].sum()
    np.testing.assert_allclose(total, mean(3, 3), atol=1e-12)
    # Nothing but the turn itself is in what arrived.
    np.testing.assert_allclose(
        (table["increment"] - table["departure"])[3], mean(3, 3) - centre, atol=1e-12
    )


def test_turns_that_stay_keep_their_part_when_others_leave(ensemble):
    days = (0, 10, 20, 21)
    people = list(timelines(cohort_of(turn_rows("p", [("user", d) for d in days]), [])))
    table = running_estimates(ensemble, people, WINDOW, "m")
    states = ensemble.source.read(people)
    spans = [Span(0, 0, 1), Span(0, 1, 1)]
    before, without = ensemble.distributions(people, states, spans).mean()
    np.testing.assert_allclose(table["departure"], [0, 0, without - before, 0], atol=1e-12)


def test_a_window_of_all_text_loses_nothing(ensemble, simulated):
    batch = list(timelines(simulated))[:5]
    table = running_estimates(ensemble, batch, WindowConfig(days=0), "m")
    assert table["departure"].abs().max() == 0
    short = running_estimates(ensemble, batch, WindowConfig(days=0.001), "m")
    assert short["departure"].abs().max() > 0


def test_bounds_are_quantiles_of_the_distribution(scored):
    _, estimates, _ = scored
    p = np.array(estimates["distribution"].to_list())
    np.testing.assert_allclose(estimates["p_ge_10"], p[:, 10:].sum(1), atol=1e-12)
    inside = (estimates["lower"] <= estimates["median"]) & (
        estimates["median"] <= estimates["upper"]
    )
    assert inside.all()
    assert estimates["lower"].min() >= 0
    assert estimates["upper"].max() <= 27


def cut(cohort, keep):
    """The first `keep` turns of each person, and the same with the rest said differently."""
    number = pl.int_range(pl.len()).over("person_id")
    first = replace(cohort, turns=cohort.turns.filter(number < keep))
    other = pl.when(number < keep).then("text").otherwise(pl.lit("I feel hopeless")).alias("text")
    return first, replace(cohort, turns=cohort.turns.with_columns(other))


@pytest.mark.parametrize("keep", [1, 5, 9])
def test_what_is_said_later_does_not_change_an_estimate(trained, simulated, scored, tmp_path, keep):
    _, whole, _ = scored
    for number, cohort in enumerate(cut(simulated, keep)):
        out = tmp_path / f"{number}.parquet"
        score_cohort(cohort, trained, out, home=tmp_path / f"home-{number}")
        part = pl.read_parquet(out)
        both = whole.join(part, on=["person_id", "conversation_id", "turn"], suffix="_part")
        early = both.filter(pl.int_range(pl.len()).over("person_id") < keep // 2)
        for name in NUMBERS:
            np.testing.assert_allclose(early[name], early[f"{name}_part"], atol=1e-4)
        if number:
            late = both.filter(pl.int_range(pl.len()).over("person_id") >= keep)
            assert (late["mean"] - late["mean_part"]).abs().max() > 0.05


@pytest.mark.parametrize("adapt", ["frozen", "lora"])
def test_a_language_model_does_not_look_ahead_either(simulated, tmp_path, home, adapt, monkeypatch):
    import torch

    from leadline.readers import language
    from leadline.runs import train

    monkeypatch.setattr(language, "pick_dtype", lambda *_: torch.float32)
    exact = lambda config, seed: replace(finetune_config(config, seed), dtype="float32")  # noqa: E731
    monkeypatch.setattr(train, "finetune_config", exact)
    labelled = simulated.phq9["person_id"].unique(maintain_order=True).to_list()
    few = some_people(simulated, set(labelled[:12]))
    config = TrainConfig(
        reader=str(tiny_reader(tmp_path, "llama")), layers=("0.67",), adapt=adapt, folds=2,
        inner_folds=2, epochs=0.5, fit="ridge", baselines=False, rank=2, max_tokens=128,
    )  # fmt: skip
    run = tmp_path / "run"
    train_run(few, run, config, WINDOW, home=home)
    whole = pl.read_parquet(run / "estimates.parquet")
    changed = cut(few, 9)[1]
    score_cohort(changed, run, tmp_path / "part.parquet", home=tmp_path / "other-home")
    part = pl.read_parquet(tmp_path / "part.parquet")
    both = whole.join(part, on=["person_id", "conversation_id", "turn"], suffix="_part")
    place = pl.int_range(pl.len()).over("person_id")
    early, late = both.filter(place < 4), both.filter(place >= 9)
    np.testing.assert_allclose(early["mean"], early["mean_part"], atol=2e-3)
    # People of unlike length, read one at a time or by length, come back in their order.
    one = ScoreConfig(batch_people=1, cache=False)
    score_cohort(changed, run, tmp_path / "one.parquet", one, home=home)
    alone = pl.read_parquet(tmp_path / "one.parquet")
    assert alone.select("person_id", "turn").equals(part.select("person_id", "turn"))
    np.testing.assert_allclose(alone["mean"], part["mean"], atol=2e-3)
    assert (late["mean"] - late["mean_part"]).abs().max() > 0.01


SCORE = """
import sys
from pathlib import Path
from leadline.cohort.store import read_cohort
from leadline.scoring.score import score_cohort
score_cohort(read_cohort(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_another_process_gives_identical_estimates(
    scored, trained, simulated_path, home, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEADLINE_HOME", str(home))
    out = tmp_path / "other.parquet"
    command = [sys.executable, "-c", SCORE, str(simulated_path), str(trained), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert out.read_bytes() == scored[2].read_bytes()


@pytest.mark.parametrize("size", [1, 7])
def test_the_batch_size_changes_nothing(scored, trained, simulated, home, tmp_path, size):
    out = tmp_path / "out.parquet"
    score_cohort(simulated, trained, out, ScoreConfig(batch_people=size), home=home)
    assert_same(pl.read_parquet(out), scored[1])


def test_labels_are_not_looked_at(scored, trained, simulated, home, tmp_path):
    bare = replace(simulated, phq9=simulated.phq9.clear())
    score_cohort(bare, trained, tmp_path / "out.parquet", home=home)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(scored[1])


def test_new_people_are_estimated_by_all_models(scored, trained, simulated, home, tmp_path):
    score_cohort(renamed(simulated), trained, tmp_path / "new.parquet", home=home)
    new = pl.read_parquet(tmp_path / "new.parquet")
    locked = simulated.people.filter("locked")["person_id"].to_list()
    old = scored[1].filter(pl.col("person_id").is_in(locked))
    same = new.filter(pl.col("person_id").is_in([f"new-{name}" for name in locked]))
    assert same.drop("person_id").equals(old.drop("person_id"))


def test_silent_people_are_counted_and_have_no_row(trained, home, tmp_path):
    turns = turn_rows("quiet", [("assistant", 0)]) + turn_rows(
        "told", [("user", 0), ("user", None)]
    )
    cohort = cohort_of(turns, [])
    out = tmp_path / "deep" / "er" / "out.parquet"
    counts = score_cohort(cohort, trained, out, ScoreConfig(batch_people=1), home=home)
    assert counts == {"people": 2, "silent": 1, "trained_on": 0, "estimates": 2}
    table = pl.read_parquet(out)
    assert set(table["person_id"]) == {"told"}
    assert table["time"].null_count() == 1


def test_nobody_at_all(trained, home, tmp_path):
    out = tmp_path / "out.parquet"
    counts = score_cohort(cohort_of([], []), trained, out, home=home)
    assert counts == {"people": 0, "silent": 0, "trained_on": 0, "estimates": 0}
    assert pl.read_parquet(out).schema == pl.Schema(ESTIMATES)


def test_the_output_appears_whole_or_not_at_all(trained, simulated, home, tmp_path, monkeypatch):
    from leadline.scoring import worker

    out = tmp_path / "out.parquet"
    out.write_text("mine")
    with pytest.raises(LeadlineError, match="already exists"):
        score_cohort(simulated, trained, out, home=home)
    with pytest.raises(LeadlineError, match="already exists"):
        score_cohort(simulated, trained, tmp_path, home=home, overwrite=True)
    with pytest.raises(LeadlineError, match="cannot be made here"):
        score_cohort(simulated, trained, out / "below" / "it", home=home)
    with pytest.raises(LeadlineError, match="no file of this kind"):
        score_cohort(simulated, trained, out, home=home, overwrite=True)
    assert files_of(tmp_path) == {"out.parquet": b"mine"}
    pl.DataFrame(schema=ESTIMATES).write_parquet(out)
    before = files_of(tmp_path)
    calls = iter(range(9))

    def fail(*arguments):
        if next(calls):
            raise KeyboardInterrupt
        return running_estimates(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "running_estimates", fail)
        with pytest.raises(KeyboardInterrupt):
            score_cohort(
                simulated, trained, out, ScoreConfig(batch_people=5), overwrite=True, home=home
            )
    assert files_of(tmp_path) == before, "no part was finished"
    score_cohort(simulated, trained, out, overwrite=True, home=home)
    assert pl.read_parquet(out).height > 0


def test_the_model_is_named_by_its_checkpoint(scored, trained):
    from leadline.artefact import sha256

    expected = sha256(Path(trained) / "checkpoint" / "model.json")[:16]
    assert set(scored[1]["model_id"]) == {expected}


def test_masking_keeps_turns_and_batches_keep_order(simulated):
    people = list(timelines(simulated))
    (masked, *_), plain = mask_people(people, WindowConfig(mask_questionnaire=True)), people[0]
    assert masked.user.tolist() == plain.user.tolist()
    assert mask_people(people, WINDOW) == people
    assert [p for some in batched(people, 7) for p in some] == people
    assert {len(some) for some in batched(people, 7)} <= {7, len(people) % 7}


@pytest.fixture(scope="module")
def with_items(trained, simulated, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("items") / "estimates.parquet"
    score_cohort(simulated, trained, out, items=True, home=home)
    return pl.read_parquet(out)


def test_the_profile_stands_beside_estimates_that_are_what_they_were(scored, with_items):
    _, estimates, _ = scored
    assert with_items.select(list(ESTIMATES)).equals(estimates)
    assert with_items.schema == ESTIMATES | profile_schema(9)
    expected = with_items.select(pl.sum_horizontal(ITEM_COLUMNS)).to_series()
    assert (expected - with_items["mean"]).abs().max() < 1e-9
    for name in ITEM_COLUMNS:
        assert (with_items[f"{name}_lower"] <= with_items[f"{name}_upper"]).all()


def test_training_people_have_the_profile_that_the_run_gave_them(with_items, trained):
    """The last turn of a window is the reading of its PHQ-9, by the same models."""
    profiles = pl.read_parquet(trained / "profiles.parquet").filter(pl.col("model") == "leadline")
    each = profiles.group_by("person_id", "label", "repeat").agg(
        pl.col("expected").sort_by(pl.col("item")).get(0).alias("first")
    )
    averages = each.group_by("person_id", "label").agg(pl.col("first").mean())
    ends = with_items.group_by("person_id").agg(pl.col("item_1"))
    both = averages.join(ends, on="person_id")
    nearest = both.select((pl.col("item_1").list.eval(pl.element())).alias("all"), "first")
    off = [min(abs(value - first) for value in values) for values, first in nearest.iter_rows()]
    assert max(off) < 0.05, "two repeats speak at once here, one by one there"


def test_a_run_without_items_gives_no_profile(trained, simulated, home, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "checkpoint" / "items.json").unlink()
    with pytest.raises(LeadlineError, match="gives no profile of the items"):
        score_cohort(simulated, run, tmp_path / "out", items=True, home=home)
    assert not (tmp_path / "out").exists()
