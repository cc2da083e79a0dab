"""What a checkpoint may say of its models, and what is refused before anything is made of it."""

import copy
import json

import numpy as np
import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.runs.checkpoint import CHECKPOINT
from leadline.runs.description import check_ledger, checked_members


@pytest.fixture
def description(trained):
    return json.loads((trained / CHECKPOINT / "model.json").read_text())


def entry(change):
    """A change of the first model's entry."""
    return lambda about: change(about["members"][0])


FORGED = {
    "no models": (lambda about: about.pop("members"), "names no models"),
    "an empty list": (lambda about: about.update(members=[]), "names no models"),
    "a text": (lambda about: about.update(members="all"), "names no models"),
    "too many": (
        lambda about: about.update(members=about["members"] * 2000),
        "names no models",
    ),
    "no settings": (lambda about: about.pop("train"), "how many folds"),
    "folds of text": (lambda about: about["train"].update(folds="3"), "how many folds"),
    "not an entry": (lambda about: about["members"].append(7), "model 6: it is no entry"),
    "twice": (lambda about: about["members"].append(about["members"][0]), "model 6: .* twice"),
    "fold 99": (entry(lambda it: it.update(fold=99)), "model 0: its repeat or fold"),
    "fold below": (entry(lambda it: it.update(fold=-1)), "model 0: its repeat or fold"),
    "fold true": (entry(lambda it: it.update(fold=True)), "model 0: its repeat or fold"),
    "outside": (entry(lambda it: it.update(file="../../x")), "not named after it"),
    "absolute": (entry(lambda it: it.update(file="/etc/x")), "not named after it"),
    "no hash": (entry(lambda it: it.pop("sha256")), "it has no hash"),
    "no calibration": (entry(lambda it: it.pop("calibration")), "it has no calibration"),
    "a number gone": (entry(lambda it: it["calibration"].pop("centre")), "absent or not finite"),
    "nan": (entry(lambda it: it["calibration"].update(shift=np.nan)), "absent or not finite"),
    "infinite": (entry(lambda it: it["calibration"].update(widen=np.inf)), "absent or not finite"),
    "off the scale": (entry(lambda it: it["calibration"].update(centre=28.0)), "out of range"),
    "no width": (entry(lambda it: it["calibration"].update(widen=0.0)), "out of range"),
    "half of words": (entry(lambda it: it["calibration"].update(half_words=-1.0)), "out of range"),
    "few widths": (entry(lambda it: it["calibration"]["widths"].pop()), "widths .* absent"),
    "wide": (entry(lambda it: it["calibration"].update(widths=[2.0] * 19)), "widths .* range"),
    "kind": (entry(lambda it: it.update(kind="pickle")), "no kind that this version knows"),
    "no head": (entry(lambda it: it.pop("candidate")), "it has no head"),
    "no views": (entry(lambda it: it["candidate"].pop("apart")), "how it sees the views"),
    "words": (entry(lambda it: it["candidate"].update(lexical=2.0)), "weight of words"),
    "no parts": (entry(lambda it: it.update(parts=[])), "it has no parts"),
    "part of text": (entry(lambda it: it.update(parts=["x"])), "a part has no views"),
    "part of nothing": (entry(lambda it: it["parts"][0].pop("settings")), "a part has no settings"),
    "a nan inside": (
        entry(lambda it: it["parts"][0]["settings"].update(intercept=np.nan)),
        "a number of a part",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_training_does_not_write_is_refused(description, tmp_path, name):
    change, message = FORGED[name]
    assert checked_members(description, tmp_path / "model.json") == description["members"]
    forged = copy.deepcopy(description)
    change(forged)
    with pytest.raises(LeadlineError, match=message) as caught:
        checked_members(forged, tmp_path / "model.json")
    assert caught.value.file == tmp_path / "model.json"
    assert "Restore the run" in caught.value.remedy


def test_an_adapted_model_says_its_form(description, tmp_path):
    of_frozen = description["members"][0]
    adapted = {name: of_frozen[name] for name in ("repeat", "fold", "file", "sha256",
                                                  "calibration")}  # fmt: skip
    adapted |= {"kind": "adapted", "scalar": False}
    description["members"] = [adapted]
    assert checked_members(description, tmp_path) == [adapted]
    description["members"] = [adapted | {"scalar": "no"}]
    with pytest.raises(LeadlineError, match="it has no form"):
        checked_members(description, tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("fold", 3, "out of range"),
        ("fold", -2, "out of range"),
        ("fold", None, "out of range"),
        ("repeat", 9, "out of range"),
        ("fold", "gone", "a column is absent"),
    ],
)
def test_a_ledger_names_folds_that_there_are(
    description, trained, tmp_path, column, value, problem
):
    members, file = description["members"], tmp_path / "ledger.parquet"
    ledger = pl.read_parquet(trained / "ledger.parquet")
    check_ledger(ledger, members, 3, file)
    forged = ledger.drop(column) if value == "gone" else ledger.with_columns(
        pl.when(pl.int_range(pl.len()) == 1).then(value).otherwise(column).alias(column)
    )  # fmt: skip
    with pytest.raises(LeadlineError, match=problem) as caught:
        check_ledger(forged, members, 3, file)
    assert caught.value.file == file
