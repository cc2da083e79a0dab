"""What an artefact may hold: only what Leadline gives a name there is ever replaced with it."""

from pathlib import Path

import pytest

from leadline.artefact import write_manifest
from leadline.errors import LeadlineError
from leadline.output import new_directory


def make(path: Path, word: str, kind: str) -> None:
    with new_directory(path, kind, overwrite=True) as scratch:
        write_manifest(scratch, kind=kind, command=word, settings={}, inputs={}, counts={})


IN_FOLDERS = ("checkpoint/thesis.txt", "truth/diary.txt", "truth/thesis.parquet.txt", "nodes/x.txt",
              "steps/y.txt", "steps/round-1/notes.md", "checkpoint/.git/config",
              "checkpoint/repeat-0-fold-0/diary.txt")  # fmt: skip


@pytest.mark.parametrize("name", IN_FOLDERS)
@pytest.mark.parametrize("kind", ["run", "cohort", "labels", "export"])
def test_what_lies_in_a_folder_of_leadlines_is_not_replaced_either(tmp_path, kind, name):
    make(tmp_path / "out", "old", kind)
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(LeadlineError, match="holds something"):
        make(tmp_path / "out", "new", kind)
    assert file.read_text() == "mine"


OWN = {
    "run": (
        "checkpoint/model.json", "checkpoint/items.json", "report.html",
        "checkpoint/repeat-0-fold-1.safetensors",
        "checkpoint/repeat-0-fold-1/model.safetensors", "checkpoint/repeat-0-fold-1/curve.json",
        "checkpoint/repeat-0-fold-1/manifest.json", "checkpoint/.model.json.12-0123abcd",
        "checkpoint/repeat-0-fold-2.training/checkpoint-3/optimizer.pt", "checkpoint/.tmpAbC123",
        "checkpoint/.repeat-0-fold-1.partial-0123abcd/config.json",
        "steps/gold-only/repeat-0-fold-1.safetensors", "nodes/easy-leak-r0.npz",
        "nodes/fits/r0-f1/model.safetensors", "predictions-locked.parquet",
    ),
    "cohort": ("truth/limit.parquet", "truth/phq9_all.parquet", "folds.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_what_any_version_writes_is_no_stranger(tmp_path, kind):
    make(tmp_path / "out", "old", kind)
    for name in OWN[kind]:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    make(tmp_path / "out", "new", kind)
    assert '"new"' in (tmp_path / "out" / "manifest.json").read_text()
