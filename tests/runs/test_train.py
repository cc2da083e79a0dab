import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file
from tests.support.cohorts import (
    cohort_of,
    files_of,
    label_row,
    scored_people,
    some_people,
    turn_rows,
    undated,
    with_totals,
)
from tests.support.readers import tiny_reader

from leadline.artefact import read_manifest, sha256
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort, write_cohort
from leadline.cohort.windows import label_readings, running_starts
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.run_results import evaluate_run
from leadline.runs import labelled as labelled_module
from leadline.runs import train
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import labelled_people, training_rows
from leadline.runs.ledger import read_ledger
from leadline.runs.predictions import whole_predictions
from leadline.runs.train import train_run
from leadline.tables import ESTIMATES, PREDICTIONS

WINDOW = WindowConfig()


def table(run, name="predictions"):
    return pl.read_parquet(run / f"{name}.parquet")


@pytest.fixture
def fit(tmp_path, quick, home):
    """Train in a new directory; return it."""
    made = iter(range(100))

    def run(cohort, config=quick, window=WINDOW):
        out = tmp_path / f"run-{next(made)}"
        train_run(cohort, out, config, window, home=home)
        return out

    return run


@pytest.fixture
def same_folds(monkeypatch, trained):
    """Folds as they were drawn before labels are changed: the strata follow the labels."""
    ledger = read_ledger(table(trained, "ledger"))
    folds = {person: mine[0] for person, mine in ledger.items()}
    monkeypatch.setattr(labelled_module, "person_folds", lambda *_: folds)
    return folds


def test_a_run_holds_what_its_manifest_says(trained, simulated):
    manifest = read_manifest(trained, "run")
    for name, digest in manifest["files"].items():
        assert sha256(trained / name) == digest
    files = simulated.manifest["files"].items()
    assert manifest["inputs"] == {k: v for k, v in files if not k.startswith("truth/")}
    assert manifest["simulated"] is True
    assert manifest["training"]["locked test people"] == "10"
    assert manifest["training"]["people trained on"] == "44"
    assert manifest["training"]["models in the ensemble"] == "6"
    assert sum(row["chosen"] for row in manifest["selection"]) == 6
    for repeat, fold in {(r["repeat"], r["fold"]) for r in manifest["selection"]}:
        rows = [r for r in manifest["selection"] if (r["repeat"], r["fold"]) == (repeat, fold)]
        assert min(rows, key=lambda row: row["crps"])["chosen"]


def test_every_label_is_predicted_once_a_repeat_by_who_never_saw_it(trained, simulated):
    predictions = table(trained)
    assert predictions.schema == pl.Schema(PREDICTIONS)
    readings = label_readings(simulated, WINDOW)
    own = predictions.filter(pl.col("model") == "leadline")
    assert set(own["split"]) == {"out-of-fold"}
    out = own
    open_labels = sorted(readings.filter(~pl.col("locked"))["label"])
    for repeat in (0, 1):
        assert sorted(out.filter(pl.col("repeat") == repeat)["label"]) == open_labels
    ledger = read_ledger(table(trained, "ledger"))
    for row in out.iter_rows(named=True):
        assert ledger[row["person_id"]][row["repeat"]] == row["fold"]
    joined = predictions.join(simulated.phq9.with_row_index("label"), on="label")
    assert (joined["total"] == joined["total_right"]).all()
    assert (joined["person_id"] == joined["person_id_right"]).all()


def test_nothing_on_the_disk_of_a_run_speaks_of_locked_people_but_the_ledger(trained, simulated):
    for name in ("predictions", "estimates"):
        assert not set(table(trained, name)["person_id"]) & simulated.locked_ids
    ledger = table(trained, "ledger").filter(pl.col("fold") < 0)
    assert set(ledger["person_id"]) == simulated.locked_ids
    texts = [path.read_text() for path in trained.rglob("*.json")]
    assert not [name for name in simulated.locked_ids if any(name in text for text in texts)]


def test_baselines_are_predicted_on_the_same_labels_and_folds(trained):
    keys = ["repeat", "fold", "split", "label"]
    by_model = {
        name: part.select(keys).sort(keys) for (name,), part in table(trained).group_by("model")
    }
    assert set(by_model) == {"leadline", "constant", "length", "assistant only", "tf-idf"}
    for part in by_model.values():
        assert part.equals(by_model["leadline"])


def test_distributions_are_distributions_and_give_the_mean(trained):
    for name in ("predictions", "estimates"):
        rows = table(trained, name)
        p = np.array(rows["distribution"].to_list())
        assert p.shape == (rows.height, 28)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)
        if name == "predictions":
            rows = rows.filter(pl.col("model") == "leadline")
            p = np.array(rows["distribution"].to_list())
        np.testing.assert_allclose(p @ np.arange(28), rows["mean"], atol=1e-9)
    estimates = table(trained, "estimates")
    assert estimates.schema == pl.Schema(ESTIMATES)
    assert (estimates["lower"] <= estimates["median"]).all()
    assert (estimates["median"] <= estimates["upper"]).all()
    assert (estimates["p_ge_5"] >= estimates["p_ge_10"]).all()


def test_the_ledger_tells_training_people_from_locked_ones(trained, simulated):
    ledger = table(trained, "ledger")
    locked = set(simulated.people.filter("locked")["person_id"])
    assert set(ledger.filter(pl.col("fold") < 0)["person_id"]) == locked
    rest = ledger.filter(pl.col("fold") >= 0)
    assert not locked & set(rest["person_id"])
    assert rest.height == 2 * 44
    assert (rest["labels"] >= 1).all()


def test_the_model_learns_what_can_be_learned(fit, quick):
    random = np.random.default_rng(0)
    cohort = scored_people([float(i % 28) for i in range(60)])
    totals = np.repeat(cohort.phq9["total"].to_numpy(), 2)
    words = ["tired" if random.random() < t / 27 else "fine" for t in totals for _ in range(20)]
    texts = [" ".join(words[at : at + 20]) for at in range(0, len(words), 20)]
    told = replace(cohort, turns=cohort.turns.with_columns(pl.Series("text", texts)))
    error = {
        name: float((part["mean"] - part["total"]).abs().mean())
        for (name,), part in table(fit(told, replace(quick, fit="auto"))).group_by("model")
    }
    assert error["leadline"] < 0.5 * error["constant"]
    assert error["tf-idf"] < 0.7 * error["constant"]


def test_a_left_out_folds_own_labels_change_nothing_that_is_said_of_it(
    fit, simulated, quick, same_folds
):
    config = replace(quick, fit="auto")
    before = fit(simulated, config)
    for fold in range(3):
        people = {person for person, own in same_folds.items() if own == fold}
        after = fit(with_totals(simulated, people), config)
        for name, mine in (("predictions", pl.col("fold") == fold),
                           ("estimates", pl.col("person_id").is_in(list(people)))):  # fmt: skip
            own = [table(r, name).drop("total", "model_id", strict=False) for r in (before, after)]
            assert own[0].filter(mine).equals(own[1].filter(mine)), (name, fold)
            # The other folds were trained on the changed labels, so something must have moved.
            assert not own[0].filter(~mine).equals(own[1].filter(~mine)), (name, fold)
        selections = [
            [row for row in read_manifest(run, "run")["selection"] if row["fold"] == fold]
            for run in (before, after)
        ]
        assert selections[0] == selections[1]


def test_locked_labels_influence_nothing(fit, simulated):
    locked = set(simulated.people.filter("locked")["person_id"])
    changed = with_totals(simulated, locked)
    assert not changed.phq9.equals(simulated.phq9)
    one, other = fit(simulated), fit(changed)
    assert files_of(one / "checkpoint") == files_of(other / "checkpoint")
    for name in ("predictions", "estimates"):
        a, b = (table(run, name).drop("total", strict=False) for run in (one, other))
        assert a.equals(b)


def test_locked_people_without_their_labels_would_train_the_same_model(fit, simulated):
    locked = simulated.people.filter("locked")["person_id"].to_list()
    phq9 = simulated.phq9.filter(~pl.col("person_id").is_in(locked))
    one, other = fit(simulated), fit(replace(simulated, phq9=phq9))
    assert_same_models(one / "checkpoint", other / "checkpoint")


def assert_same_models(one, other):
    """Equal up to the last bits, which depend on where the arrays of a fit lie in memory."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    tensors = [name for name in names if name.endswith(".safetensors")]
    assert tensors
    for name in tensors:
        a, b = load_file(one / name), load_file(other / name)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-9, atol=1e-12)
    a, b = (json.loads((side / "model.json").read_text()) for side in (one, other))
    for member, twin in zip(a.pop("members"), b.pop("members"), strict=True):
        member.pop("sha256"), twin.pop("sha256")
        near, calibration = twin.pop("calibration"), member.pop("calibration")
        for key, value in calibration.items():
            np.testing.assert_allclose(value, near[key], rtol=1e-6)
        parts, others = member.pop("parts"), twin.pop("parts")
        for part, like in zip(parts, others, strict=True):
            mine, theirs = part["settings"], like["settings"]
            for key in [key for key, value in mine.items() if isinstance(value, float)]:
                assert mine.pop(key) == pytest.approx(theirs.pop(key), rel=1e-9)
            assert part == like
        assert member == twin
    assert a == b


def test_the_truth_of_a_simulated_cohort_is_not_read(fit, cohort_path):
    import shutil

    before = fit(read_cohort(cohort_path))
    shutil.rmtree(cohort_path / "truth")
    after = fit(read_cohort(cohort_path))
    assert files_of(before / "checkpoint") == files_of(after / "checkpoint")
    assert table(before).equals(table(after))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(fit, simulated, quick):
    one, two = fit(simulated), fit(simulated)
    a, b = files_of(one), files_of(two)
    a.pop("manifest.json"), b.pop("manifest.json")  # holds the time of writing
    assert a == b
    other = fit(simulated, replace(quick, seed=1))
    assert (other / "predictions.parquet").read_bytes() != a["predictions.parquet"]


def test_the_order_of_people_does_not_matter(fit, simulated):
    people = list(simulated.turns["person_id"].unique(maintain_order=True))
    turns = pl.concat([simulated.turns.filter(pl.col("person_id") == p) for p in people[::-1]])
    one, other = fit(simulated), fit(replace(simulated, turns=turns))
    key = ["model", "label"]
    a, b = (table(run).sort(key) for run in (one, other))
    assert a["fold"].equals(b["fold"])
    same = a["model"] != "leadline"  # inner folds of the model are drawn over rows
    np.testing.assert_allclose(a.filter(same)["mean"], b.filter(same)["mean"], atol=1e-6)


def test_the_running_estimate_at_the_last_turn_is_the_prediction(fit, simulated, quick):
    """Where the running window and the label's window are the same text."""
    run = fit(undated(simulated), quick, WindowConfig(days=0))
    last = table(run, "estimates").group_by("person_id", maintain_order=True).last()
    own = table(run).filter(pl.col("model") == "leadline").join(last, on="person_id")
    assert own.height == 44, "everybody who trains"
    # A product of other height may be summed in another order, so the last bit may differ.
    np.testing.assert_allclose(own["mean"], own["mean_right"], rtol=0, atol=1e-12)
    for end in ("lower", "upper"):  # what is evaluated is what is delivered
        np.testing.assert_allclose(own[end], own[f"{end}_right"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(own["distribution"].to_list(), own["distribution_right"].to_list(),
                               rtol=0, atol=1e-13)  # fmt: skip


def test_prefixes_of_a_label_are_read_as_running_estimates_and_share_a_weight(
    simulated, quick, home
):
    window = WindowConfig(days=5)
    labelled = labelled_people(simulated, quick, window)
    source = train.open_source(quick, home=home)
    states = source.read(labelled.people)
    rows, owner = training_rows(labelled, states, source, window, quick)
    assert rows.final.sum() == labelled.readings.height
    np.testing.assert_array_equal(rows.share[rows.final], 1)
    prefixes = np.bincount(owner, ~rows.final) > 0
    joint = np.bincount(owner, np.where(rows.final, 0.0, rows.share))
    np.testing.assert_allclose(joint, np.where(prefixes, labelled_module.PREFIX_SHARE, 0.0))
    np.testing.assert_array_equal(rows.design.words[rows.final], labelled.readings["user_words"])
    np.testing.assert_array_equal(rows.total, labelled.readings["total"].to_numpy()[owner])
    assert rows.person.tolist() == labelled.readings["row"].to_numpy()[owner].tolist()
    assert (np.bincount(owner) <= labelled_module.PREFIXES).all()
    early = 0
    for label, span in enumerate(labelled.spans):
        person = labelled.people[span.person]
        starts = running_starts(person, window)
        ends = range(span.first, span.last)
        expected = {person.user_words()[starts[e] : e + 1].sum() for e in ends}
        early += sum(starts[e] > 0 for e in ends)
        assert set(rows.design.words[(owner == label) & ~rows.final]) <= expected
    assert early, "else the start of everything would do"


@pytest.mark.parametrize(
    "change",
    [{"head": "scalar", "fit": "auto"}, {"pool": "words"}, {"pool": "last"}, {"baselines": False}],
)
def test_other_settings_train_and_evaluate(fit, simulated, quick, change):
    run = fit(simulated, replace(quick, **change))
    results = evaluate_run(run, settings=EvaluateConfig(resamples=100, curve_resamples=100))
    models = results["sets"][0]["models"]
    assert ("constant" in models) == change.get("baselines", True)
    assert math.isfinite(models["leadline"]["scores"]["mae"]["value"])


def test_a_masked_questionnaire_is_not_read(fit, quick):
    people = scored_people([float(i % 28) for i in range(20)])
    score = (pl.int_range(pl.len()) % 28).cast(pl.String)
    turns = people.turns.with_columns((pl.lit("my phq-9 score was ") + score).alias("text"))
    config = replace(quick, baselines=False, folds=2)
    plain = fit(replace(people, turns=turns), config, WindowConfig(keep_questionnaire=True))
    masked = fit(replace(people, turns=turns), config, WindowConfig(mask_questionnaire=True))
    assert table(masked, "estimates")["mean"].n_unique() <= 2 * 2, "a fold and a number of turns"
    assert table(plain, "estimates")["mean"].n_unique() > 2 * 2


def phq8(cohort):
    return replace(cohort, phq9=cohort.phq9.with_columns(pl.lit("phq8").alias("instrument")))


@pytest.mark.parametrize(
    ("cohort", "config", "message"),
    [
        (cohort_of(turn_rows("a", [("user", 0)]), []), {}, "has no PHQ-9.*\n.*--phq9"),
        (scored_people([3, 4, 5]), {}, "3 people with a PHQ-9.*at least 10 are needed"),
        (scored_people([3.0] * 9), {"folds": 2, "fit": "ridge"}, "9 people.*at least 10"),
        (scored_people([3.0] * 11), {"folds": 6}, "11 labelled people cannot be split into 6"),
        (phq8(scored_people([3.0] * 9)), {}, "the labels are phq8.*\n.*--include-phq8"),
        (
            cohort_of(turn_rows("a", [("user", 0)]), [label_row("a", 90, 3)]),
            {},
            r"No PHQ-9 has 1 or more user turns in the 14 days before it",
        ),
        (scored_people([3.0] * 12), {"reader": "smollm2"}, "leadline reader fetch smollm2"),
        (scored_people([3.0] * 12), {"reader": "smollm2", "adapt": "lora"}, "reader fetch smollm2"),
        (scored_people([3.0] * 12), {"reader": "a+a"}, "one twice|neither a known"),
        (scored_people([3.0] * 12), {"reader": "none"}, "neither a known reader"),
        (scored_people([3.0] * 12), {"adapt": "lora"}, "not built of layers|weights of this"),
    ],
)
def test_what_cannot_be_trained_is_said_and_nothing_is_written(
    tmp_path, quick, home, cohort, config, message
):
    with pytest.raises(LeadlineError, match=message):
        train_run(cohort, tmp_path / "run", replace(quick, **config), WINDOW, home=home)
    assert list(tmp_path.iterdir()) == []


def test_phq8_totals_are_trained_on_when_asked(fit, quick):
    run = fit(phq8(scored_people([float(i % 25) for i in range(12)])),
              replace(quick, include_phq8=True, baselines=False))  # fmt: skip
    assert set(table(run)["instrument"]) == {"phq8"}


def mixed():
    cohort = scored_people([float(i % 25) for i in range(24)])
    eight = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("phq8"))
    return replace(
        cohort, phq9=cohort.phq9.with_columns(eight.otherwise(pl.lit("phq9")).alias("instrument"))
    )


def test_phq8_totals_never_train_beside_phq9_totals(tmp_path, quick, home, fit):
    both = replace(quick, include_phq8=True, baselines=False)
    words = r"8 PHQ-8 totals \(0-24\) and 16 PHQ-9 totals.*one scale.*\n.*Leave out --include-phq8"
    with pytest.raises(LeadlineError, match=words):
        train_run(mixed(), tmp_path / "run", both, WINDOW, home=home)
    assert list(tmp_path.iterdir()) == []
    alone = fit(mixed(), replace(both, include_phq8=False))
    assert set(table(alone)["instrument"]) == {"phq9"}
    assert table(alone)["label"].n_unique() == 16
    without_phq8 = fit(scored_people([float(i % 25) for i in range(12)]), both)
    assert set(table(without_phq8)["instrument"]) == {"phq9"}


def test_people_who_all_score_and_say_the_same(fit, quick):
    cohort = scored_people([9.0] * 12)
    same = cohort.turns.with_columns(pl.lit("I do not know").alias("text"))
    for head in ("ridge", "gp", "histogram"):
        run = fit(replace(cohort, turns=same), replace(quick, fit=head))
        assert (table(run)["mean"] - 9).abs().max() < 1.5
        for written in (table(run), table(run, "estimates")):
            below, above = (
                written["median"] - written["lower"],
                written["upper"] - written["median"],
            )
            assert below.min() > 2.49, "nobody's next total is known more closely"
            assert above.min() > 2.49


def test_many_people_who_score_and_say_the_same_get_no_interval_of_width_0(fit, quick):
    """With ten or more in the calibration the conformal width itself comes near 0."""
    cohort = scored_people([7.0] * 30)
    same = cohort.turns.with_columns(pl.lit("I do not know").alias("text"))
    config = replace(quick, fit="ridge", folds=2, baselines=False)
    estimates = table(fit(replace(cohort, turns=same), config), "estimates")
    width = estimates["upper"] - estimates["lower"]
    assert 4.99 < width.min() <= width.max() < 9


@pytest.mark.parametrize("change", [{"folds": 2}, {"folds": 5}, {"folds": 2, "inner_folds": 20}])
def test_the_fewest_people_that_are_trained_on_can_be_evaluated(fit, quick, change):
    totals = [0.0, 27.0, 3.0, 14.0, 9.0, 9.0, 21.0, 6.0, 1.0, 12.0]
    for fit_ in ("ridge", "gp"):
        run = fit(scored_people(totals), replace(quick, fit=fit_, **change))
        results = evaluate_run(run, settings=EvaluateConfig(resamples=100, curve_resamples=100))
        assert math.isfinite(results["sets"][0]["models"]["leadline"]["scores"]["mae"]["value"])


def test_an_interrupted_run_goes_on_and_a_finished_one_is_kept(
    tmp_path, simulated, quick, home, monkeypatch, fit
):
    out = tmp_path / "again"

    def stop(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "baseline_predictions", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(simulated, out, quick, WINDOW, home=home)
    with pytest.raises(LeadlineError, match="unfinished"):
        read_manifest(out, "run")
    with pytest.raises(LeadlineError, match="other settings or inputs"):
        train_run(simulated, out, replace(quick, seed=5), WINDOW, home=home)
    with pytest.raises(LeadlineError, match="other settings or inputs"):
        train_run(simulated, out, quick, WindowConfig(days=7), home=home)
    train_run(simulated, out, quick, WINDOW, home=home)
    whole = fit(simulated)
    assert (out / "predictions.parquet").read_bytes() == (
        whole / "predictions.parquet"
    ).read_bytes()
    before = files_of(out)
    with pytest.raises(LeadlineError, match=r"finished.*\n.*--overwrite"):
        train_run(simulated, out, quick, WINDOW, home=home)
    missing = replace(quick, reader="smollm2")
    with pytest.raises(LeadlineError, match="fetch"):
        train_run(simulated, out, missing, WINDOW, home=home, overwrite=True)
    assert files_of(out) == before
    train_run(simulated, out, replace(quick, seed=5), WINDOW, home=home, overwrite=True)
    assert files_of(out)["predictions.parquet"] != before["predictions.parquet"]
    assert {path.name for path in tmp_path.iterdir()} == {"again", whole.name}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("causal"), "llama")


@pytest.fixture(scope="module")
def few_path(simulated, tmp_path_factory):
    """Twelve labelled people and two locked ones, on disk."""
    labelled = simulated.phq9["person_id"].unique(maintain_order=True)
    locked = set(simulated.people.filter("locked")["person_id"])
    names = [n for n in labelled if n not in locked][:12] + sorted(locked)[:2]
    few = some_people(simulated, set(names))
    path = tmp_path_factory.mktemp("few") / "cohort"
    write_cohort(path, few.turns, few.phq9, few.people, command="t", settings={}, inputs={})
    return path


ADAPTED = {"adapt": "lora", "folds": 2, "epochs": 1.0, "baselines": False, "rank": 2}


@pytest.mark.parametrize(
    "change",
    [{}, {"head": "scalar", "pool": "last", "state": "last", "layers": ("1.0",), "adapt": "full"}],
)
def test_an_adapted_reader_trains_loads_and_scores(fit, few_path, llama, home, tmp_path, change):
    from leadline.scoring.score import score_cohort

    cohort = read_cohort(few_path)
    config = TrainConfig(reader=str(llama), **{**ADAPTED, **change})
    run = fit(cohort, config)
    predictions = table(run)
    assert set(predictions["split"]) == {"out-of-fold"}
    open_labels = label_readings(cohort, WINDOW).filter(~pl.col("locked"))
    assert predictions.height == open_labels.height
    score_cohort(cohort, run, tmp_path / "scores.parquet", home=home)
    ours, theirs = (
        frame.filter(pl.col("person_id").is_in(table(run, "estimates")["person_id"].to_list()))
        for frame in (pl.read_parquet(tmp_path / "scores.parquet"), table(run, "estimates"))
    )
    keys = ["person_id", "conversation_id", "turn"]
    assert ours.select(keys).equals(theirs.select(keys))
    np.testing.assert_allclose(ours["mean"], theirs["mean"], atol=0.02)
    assert not list(run.glob("checkpoint/*.training"))


def talkers(open_people, locked, seed=0):
    """People whose words follow their totals so loosely that a reader can only overfit."""
    random = np.random.default_rng(seed)
    low, high, other = "fine better calm", "sad tired alone", "work dog rain bus film run"
    turns, labels = [], []
    for number in range(open_people + locked):
        total = float(np.clip(np.rint(random.normal(11, 6.5)), 0, 27))
        name = f"n{number:03d}"
        for row in turn_rows(name, [("user", 0), ("user", 1), ("user", 2)]):
            sad = np.clip(total / 27 + random.normal(0, 0.25), 0, 1)
            banks = random.choice([other, low, high], 6, p=[0.5, 0.5 - sad / 2, sad / 2])
            text = " ".join(random.choice(bank.split()) for bank in banks)
            turns.append((*row[:4], text, row[5]))
        labels.append(label_row(name, 2.5, total))
    names = [f"n{number:03d}" for number in range(open_people, open_people + locked)]
    return cohort_of(turns, labels, tuple(names))


@pytest.mark.slow
def test_the_intervals_of_an_overfitted_reader_hold_for_people_it_never_saw(fit, llama):
    """The raw histogram held 65% of these out of fold, and 83% of the new people."""
    config = replace(TrainConfig(reader=str(llama), **ADAPTED), folds=3, epochs=30.0, rank=16)
    cohort, window = talkers(80, 100), WindowConfig(days=0)
    run = fit(cohort, replace(config, lr=1e-2), window)
    labelled = labelled_people(cohort, config, window)
    ensemble, _ = load_ensemble(run)
    rows = np.flatnonzero(labelled.readings["locked"].to_numpy())
    both = pl.concat([table(run), whole_predictions(ensemble, labelled, None, rows)])
    inside = pl.col("total").is_between(pl.col("lower") - 1e-9, pl.col("upper") + 1e-9)
    shares = dict(both.group_by("split").agg(inside.mean()).iter_rows())
    assert shares["out-of-fold"] > 0.83
    assert 0.83 < shares["locked"] < 0.98


RUN = """
import json, sys
from pathlib import Path
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.runs import train
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from dataclasses import replace
made = train.finetune_config
often = {"save_steps": 2, "batch_people": 1}
train.finetune_config = lambda config, seed: replace(made(config, seed), **often)
given = json.loads(sys.argv[1])
given["layers"] = tuple(given["layers"])
train_run(read_cohort(Path(sys.argv[2])), Path(sys.argv[3]), TrainConfig(**given), WindowConfig())
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bytes(few_path, llama, home, tmp_path, monkeypatch):
    import json

    config = TrainConfig(reader=str(llama), **{**ADAPTED, "epochs": 6.0, "repeats": 1})
    monkeypatch.setenv("LEADLINE_HOME", str(home))

    def start(out):
        command = [sys.executable, "-c", RUN, json.dumps(asdict(config)), str(few_path), str(out)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process, other = start(killed), start(whole)
    # Fold 0 is finished and fold 1 has a checkpoint: the kill falls into the middle of fold 1.
    pattern = "checkpoint/repeat-0-fold-1.training/checkpoint-*/complete"
    deadline = time.monotonic() + 120
    while not list(killed.glob(pattern)):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "manifest.json").exists()
    finished = killed / "checkpoint/repeat-0-fold-0/model.safetensors"
    stamp = finished.stat().st_mtime_ns
    again = start(killed)
    assert again.wait() == 0, again.communicate()[1][-2000:]
    assert finished.stat().st_mtime_ns == stamp, "the finished fold was not trained again"
    assert other.wait() == 0, other.communicate()[1][-2000:]
    for name in ("predictions.parquet", "estimates.parquet", "ledger.parquet"):
        assert (
            table(killed, name.removesuffix(".parquet"))
            .drop("model_id", strict=False)
            .equals(table(whole, name.removesuffix(".parquet")).drop("model_id", strict=False))
        )
    for fold in (0, 1):
        file = f"checkpoint/repeat-0-fold-{fold}/model.safetensors"
        assert (killed / file).read_bytes() == (whole / file).read_bytes()


def test_the_models_of_a_run_share_one_base(fit, few_path, llama, home):
    from tests.support.readers import talk

    from leadline.finetune.examples import LabelledSpan, TrainPerson
    from leadline.finetune.model import FinetunedModel
    from leadline.runs.checkpoint import load_ensemble

    run = fit(read_cohort(few_path), TrainConfig(reader=str(llama), **{**ADAPTED, "repeats": 2}))
    ensemble, _ = load_ensemble(run, home=home)
    stored = [member.model.model for member in ensemble.members]
    assert len(stored) == 4
    assert len({id(model.base.model) for model in stored}) == 1
    someone = [TrainPerson(talk("so tired", "why", "all the time"), [LabelledSpan(0, 1)])]
    apart = [FinetunedModel.load(m.checkpoint, home=home).predict(someone)[0] for m in stored]
    for turn in (stored, stored[::-1]):  # whoever was in before leaves no trace
        for model in turn:
            assert np.array_equal(model.predict(someone)[0], apart[stored.index(model)])
    assert not np.array_equal(apart[0], apart[1])
