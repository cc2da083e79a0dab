"""The chain of students of one fold: what is recorded is what was fitted."""

from __future__ import annotations

import inspect
import textwrap

import numpy as np
import polars as pl
import pytest
from tests.support.rounds import go

from leadline.heads.candidates import fit_heads
from leadline.selftrain import chain as chain_module
from leadline.selftrain.ancestry import TaintedLabel, read_ancestry
from leadline.selftrain.chain import Chain
from leadline.teacher.label_model import fit


def test_even_weights_fill_the_thin_bands(data, tmp_path):
    go(data, tmp_path / "run", even=True, ablation=False, canary=0.0)
    labels = pl.read_parquet(tmp_path / "run" / "ledger-pseudolabels.parquet")
    mild = labels.filter(pl.col("total").is_between(10, 14))["weight"].mean()
    severe = labels.filter(pl.col("total") >= 20)["weight"].mean()
    assert severe > 2 * mild


def mutated(method: str, right: str, wrong: str):
    """A method of `Chain` compiled anew with `wrong` in the place of `right`."""
    source = textwrap.dedent(inspect.getsource(getattr(Chain, method)))
    assert source.count(right) == 1, "the line that the test spoils is there"
    names: dict[str, object] = {}
    exec(source.replace(right, wrong), vars(chain_module), names)
    return names[method]


GOLD_MASK = "(self.open_gold & ~self._in(gold_out))[gold.person]"

FAULTS = {
    "students train on locked people":
        ("_fit", GOLD_MASK, "(self.roster.has_gold & ~self._in(gold_out))[gold.person]"),
    "students train on everyone": ("_fit", GOLD_MASK, "True"),
    "students train on left-out people": ("_fit", GOLD_MASK, "self.open_gold[gold.person]"),
    "nobody is in a fold": ("_in", "np.isin(self.fold, list(folds))", "self.fold < -9"),
    "pseudolabels stand at the wrong people":
        ("_pseudolabelled", 'batch["people"] - first_free', 'batch["people"] * 0'),
    "the label model sees locked people":
        ("_sources", "[self.open_gold & ~self._in(gold_out)]",
         "[self.roster.has_gold & ~self._in(gold_out)]"),
    "the label model sees left-out people":
        ("_sources", "[self.open_gold & ~self._in(gold_out)]", "[self.open_gold]"),
    "students estimate whom they saw":
        ("_estimates", "(self.open_gold & self._in(gold_out))[gold.person]",
         "self.open_gold[gold.person]"),
    "calibration on the fold's own people":
        ("calibration", "rows, mean, sd = self._seconds(kind, round_, fold)",
         "rows, mean, sd = self._seconds(kind, round_, (fold + 1) % self.plan.folds)"),
    "fusion on the fold's own people":
        ("fusion_model", "gold = self.open_gold & (self.fold != fold)", "gold = self.open_gold"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_code_that_lets_in_locked_or_left_out_people_does_not_finish(
    data, tmp_path, monkeypatch, fault
):
    method, right, wrong = FAULTS[fault]
    monkeypatch.setattr(Chain, method, mutated(method, right, wrong))
    with pytest.raises(TaintedLabel):
        go(data, tmp_path / "run", ablation=False, canary=0.0)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_the_canary_chain_is_held_to_the_same(data, tmp_path, monkeypatch):
    """Only the chain that believes permuted labels is at fault."""
    spoilt, honest = mutated("_fit", GOLD_MASK, "True"), Chain._fit

    def fit_of(self, key, batches):
        return (spoilt if self.tree == "canary" else honest)(self, key, batches)

    monkeypatch.setattr(Chain, "_fit", fit_of)
    with pytest.raises(TaintedLabel):
        go(data, tmp_path / "run", ablation=False)


def test_the_ledger_holds_the_people_of_the_rows_that_were_fitted(data, tmp_path, monkeypatch):
    fitted = []

    def spy(candidate, rows, seed, **scales):
        fitted.append(frozenset(rows.person.tolist()))
        return fit_heads(candidate, rows, seed, **scales)

    rosters = []
    begin = Chain.__init__

    def keep(self, roster, *args, **more):
        rosters.append(roster)
        begin(self, roster, *args, **more)

    monkeypatch.setattr(Chain, "__init__", keep)
    monkeypatch.setattr(chain_module, "fit_heads", spy)
    go(data, tmp_path / "run", ablation=False, canary=0.0)
    ledger = read_ancestry(tmp_path / "run", data[3])
    recorded = {
        model.people.union(*(ledger.batches[name].labelled for name in model.batches))
        for model in ledger.fitted.values()
    }
    ids = np.array(rosters[0].ids)
    assert recorded == {frozenset(ids[list(rows)].tolist()) for rows in fitted}
    measured = [batch.people for batch in ledger.batches.values()]
    assert all(measured)


def test_label_models_believe_gold_as_far_as_the_reliability_says(data, tmp_path, monkeypatch):
    errors = set()

    def spy(observed, **settings):
        errors.add(round(settings["gold_sd"], 6))
        return fit(observed, **settings)

    monkeypatch.setattr(chain_module, "fit", spy)
    go(data, tmp_path / "run", ablation=False, canary=0.0, reliability=0.75)
    assert errors == {6.25 * 0.5}
