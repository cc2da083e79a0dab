"""The ancestry ledger against brute force, with violations put in on purpose."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.selftrain.ancestry import (
    BATCHES,
    PSEUDOLABEL_COLUMNS,
    AncestryLedger,
    Fitted,
    PseudolabelBatch,
    TaintedLabel,
    check_ancestry,
    folds_out,
    model_name,
    read_ancestry,
)

NOBODY: frozenset[str] = frozenset()
FREE = [f"u{i}" for i in range(6)]
GOLD = [f"g{i}" for i in range(6)]


@st.composite
def histories(draw):
    """Models and batches in the order in which they were made, with any sources at all."""
    steps = []
    for number in range(draw(st.integers(1, 5))):
        batches = [name for kind, name, *_ in steps if kind == "batch"]
        gold = draw(st.frozensets(st.sampled_from(GOLD), max_size=4))
        used = draw(st.lists(st.sampled_from(batches), unique=True)) if batches else []
        steps.append(("model", f"m{number}", gold, tuple(used)))
        models = [name for kind, name, *_ in steps if kind == "model"]
        made_by = draw(st.lists(st.sampled_from(models), unique=True))
        measured = draw(st.frozensets(st.sampled_from(GOLD + FREE), max_size=3))
        to = draw(st.frozensets(st.sampled_from(FREE), min_size=1, max_size=3))
        steps.append(("batch", f"b{number}", to, tuple(made_by), measured))
    return steps


def brute_force(steps, name):
    """Everyone met on any path down from `name`."""
    by_name = {step[1]: step for step in steps}
    seen, open_ = set(), [name]
    while open_:
        kind, _, people, used, *measured = by_name[open_.pop()]
        if kind == "model":
            seen |= people
            for batch in used:
                seen |= by_name[batch][2]
        else:
            seen |= measured[0]
        open_ += used
    return seen


@settings(max_examples=200, deadline=None)
@given(histories(), st.frozensets(st.sampled_from(GOLD + FREE), max_size=2))
def test_refuses_exactly_what_depends_on_itself_or_on_a_locked_person(steps, locked):
    ledger = AncestryLedger(locked)
    for kind, name, *rest in steps:
        if kind == "model":
            ledger.add_model(Fitted(name, *rest))
            assert ledger.seen_by(name) == brute_force(steps, name)
            continue
        to, made_by, measured = rest
        kin = brute_force(steps, name)
        tainted = bool(kin & to or (kin | to) & locked)
        batch = PseudolabelBatch(name, to, made_by, ("oracle",), measured)
        if tainted:
            with pytest.raises(TaintedLabel):
                ledger.add_batch(batch)
        else:
            ledger.add_batch(batch)
        assert ledger.ancestors(name) == kin


def three_rounds(leak: str | None = None) -> AncestryLedger:
    """u0 is labelled from gold, u1 from u0's label; `leak` puts someone where they must not be."""
    ledger = AncestryLedger(frozenset({"locked"}))
    ledger.add_model(Fitted("m0", frozenset({"g0", "g1"} | ({leak} if leak else set())), ()))
    ledger.add_batch(PseudolabelBatch("b1", frozenset({"u0"}), ("m0",), (), frozenset({"g0"})))
    ledger.add_model(Fitted("m1", frozenset({"g0"}), ("b1",)))
    ledger.add_batch(PseudolabelBatch("b2", frozenset({"u1"}), ("m1",), (), NOBODY))
    return ledger


@pytest.mark.parametrize("leak", ["locked", "u0"])
def test_a_leak_is_refused_where_it_first_matters(leak):
    with pytest.raises(TaintedLabel, match="depend on their own person"):
        three_rounds(leak)


def test_a_leak_that_matters_two_rounds_later_is_refused_there():
    with pytest.raises(TaintedLabel, match="'b2', 1 depend"):
        three_rounds("u1")


def test_seen_goes_through_pseudolabels():
    ledger = three_rounds()
    assert ledger.seen_by("m1") == {"g0", "g1", "u0"}
    ledger.refuse_seen("m1", ["u1", "g2"], "test")
    with pytest.raises(TaintedLabel, match="has seen 2 of the people"):
        ledger.refuse_seen("m1", ["g1", "u0", "g2"], "test")


def labels_of(ledger: AncestryLedger) -> pl.DataFrame:
    rows = [
        {"person_id": person, "batch": batch.name, "round": 1, "source": "student"}
        for batch in ledger.batches.values()
        for person in batch.labelled
    ]
    return pl.DataFrame(rows, schema=PSEUDOLABEL_COLUMNS)


def test_written_and_read_it_is_the_same_and_its_ancestors_are_checked(tmp_path):
    ledger = three_rounds()
    ledger.write(tmp_path, labels_of(ledger))
    again = read_ancestry(tmp_path, ledger.locked)
    assert again.batches == ledger.batches
    assert again.fitted == ledger.fitted
    assert again.ancestors("b2") == {"g0", "g1", "u0"}
    with pytest.raises(TaintedLabel):  # the lock was drawn after the run was made
        read_ancestry(tmp_path, frozenset({"g1"}))


@pytest.mark.parametrize("column", ["ancestors", "labelled", "models"])
def test_a_ledger_changed_by_hand_is_refused(tmp_path, column):
    ledger = three_rounds()
    ledger.write(tmp_path, labels_of(ledger))
    table = pl.read_parquet(tmp_path / BATCHES)
    changed = pl.when(pl.col("batch") == "b2").then(pl.lit([], pl.List(pl.String)))
    table.with_columns(changed.otherwise(pl.col(column)).alias(column)).write_parquet(
        tmp_path / BATCHES
    )
    with pytest.raises(TaintedLabel, match="changed by hand"):
        read_ancestry(tmp_path, ledger.locked)


def test_an_absent_or_damaged_ledger_is_a_users_error(tmp_path):
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_ancestry(tmp_path, NOBODY)


def test_a_run_whose_model_saw_its_own_fold_is_refused(tmp_path):
    ledger = AncestryLedger(NOBODY)
    name = model_name("main", "posterior", 1, 0, {2}, {2})
    ledger.add_model(Fitted(name, frozenset({"g0"}), ()))
    ledger.write(tmp_path, pl.DataFrame(schema=PSEUDOLABEL_COLUMNS))
    assert check_ancestry(tmp_path, NOBODY, {"g1": {0: 2}}) == 0
    with pytest.raises(TaintedLabel, match="has seen 1"):
        check_ancestry(tmp_path, NOBODY, {"g0": {0: 2}, "g1": {0: 2}})


def test_every_model_of_a_run_is_checked_not_only_the_final_ones(tmp_path):
    ledger = AncestryLedger(NOBODY)
    deep = model_name("main", "posterior", 1, 0, {2, 3}, {2, 3, 4})
    ledger.add_batch(PseudolabelBatch("b", frozenset({"u0"}), (), ("oracle",), NOBODY))
    ledger.add_model(Fitted(deep, frozenset({"g0"}), ("b",)))
    ledger.write(tmp_path, labels_of(ledger))
    left_out = {"g0": {0: 4}, "g1": {0: 2}, "u0": {0: 1}}
    assert check_ancestry(tmp_path, NOBODY, left_out) == 1  # gold of fold 4 may be in
    for person, fold in (("g0", 3), ("u0", 4), ("u0", 2)):
        with pytest.raises(TaintedLabel, match="has seen 1"):
            check_ancestry(tmp_path, NOBODY, left_out | {person: {0: fold}})


def test_names_say_which_folds_a_model_left_out():
    assert folds_out(model_name("main", "gold", 0, 1, {3}, {3})) == (1, {3}, {3})
    assert folds_out(model_name("main", "posterior", 2, 0, {3}, {4, 3})) == (0, {3}, {3, 4})
    assert folds_out(model_name("main", "raw", 1, 0, {12, 3}, {12, 3})) == (0, {3, 12}, {3, 12})
