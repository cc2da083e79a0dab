"""Without its optional packages Leadline says which extra brings them: no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.support import ROOT
from tests.support.workbooks import write_workbook

from leadline.cli.app import VERBS
from leadline.cli.extras import NEEDED, PACKAGES, is_installed, missing_extra

CODE = """
import contextlib, io, json, sys

class Without:
    # A finder that does not find some packages, as if they were not installed.

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return None
        return self.finder.find_spec(name, path, target)

ABSENT, folder = set(sys.argv[1].split(",")), sys.argv[2]
commands = json.loads(sys.argv[3])
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from leadline.cli.app import main
told = {}
for name, arguments in commands.items():
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["leadline", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    told[name] = (code, err.getvalue())
print(json.dumps(told))
"""

FAST = ("--folds", "4", "--inner-folds", "2", "--fit", "ridge")


def commands(folder: Path, reader: str) -> dict[str, list[str]]:
    """Each verb that needs an optional package, and some that need none."""
    cohort, run, labels = (str(folder / name) for name in ("cohort", "run", "labels"))
    fit = ("--reader", reader, *FAST)
    book = str(write_workbook(folder / "turns.xlsx"))
    return {
        "simulate": ["simulate", "--out", cohort, "--people", "60", "--gold", "40",
                     "--locked", "5"],
        "import excel": ["import", book, "--out", str(folder / "imported")],
        "inspect": ["inspect", cohort],
        "train": ["train", cohort, "--out", run, *fit],
        "prior": ["prior", "--out", str(folder / "prior"), "--reader", reader],
        "ask": ["ask", cohort, "--run", run, "--out", str(folder / "asks.csv")],
        "label": ["label", cohort, "--out", labels, "--teacher", "simulated"],
        "audit": ["audit", cohort, "--labels", labels],
        "selftrain": ["selftrain", cohort, "--out", str(folder / "rounds"), "--labels", labels,
                      *fit, "--rounds", "1"],
        "score": ["score", cohort, "--run", run, "--out", str(folder / "e.parquet")],
        "score with ray": ["score", cohort, "--run", run, "--out", str(folder / "r.parquet"),
                           "--engine", "ray", "--workers", "1"],
        "evaluate": ["evaluate", run, "--cohort", cohort],
        "report": ["report", run],
        "export": ["export", run, "--out", str(folder / "onnx")],
        "reader": ["reader", "fetch", "Qwen/Qwen3.5-0.8B"],
        "monitor": ["monitor", "init", "--store", str(folder / "store.db"), "--run", run],
        "demo": ["demo", "--out", str(folder / "demo"), "--people", "1"],
        "demo --monitor": ["demo", "--monitor", "--out", str(folder / "demo"), "--people", "10"],
    }  # fmt: skip


def told_without(packages: list[str], folder: Path, reader: str) -> dict[str, tuple[int, str]]:
    given = commands(folder, reader)
    if "huggingface_hub" not in packages:
        del given["reader"]  # it would ask the hub
    done = subprocess.run(
        [sys.executable, "-c", CODE, ",".join(packages), str(folder), json.dumps(given)],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(json.loads(done.stdout))


ALL = [package for packages in PACKAGES.values() for package in packages]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What each verb says where Leadline is installed without any extra."""
    return told_without(ALL, tmp_path_factory.mktemp("bare"), "minilm")


@pytest.mark.parametrize("verb", NEEDED)
def test_a_verb_names_every_extra_that_it_needs(
    bare: dict[str, tuple[int, str]], verb: str
) -> None:
    code, err = bare[verb]
    assert code == 2
    assert err.count("Error") == 1
    assert "needs the package" in err
    assert f"pip install 'leadline[{','.join(NEEDED[verb])}]'" in err


def test_a_workbook_names_the_extra_that_reads_it(bare: dict[str, tuple[int, str]]) -> None:
    code, err = bare["import excel"]
    assert code == 2
    assert "pip install 'leadline[excel]'" in err


def test_verbs_without_optional_packages_do_their_work(bare: dict[str, tuple[int, str]]) -> None:
    assert bare["simulate"][0] == bare["inspect"][0] == 0
    needless = set(VERBS) - set(NEEDED)
    assert needless == {"import", "simulate", "inspect", "lock", "relock", "verify", "evaluate",
                        "report", "audit"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("package", ALL)
def test_one_package_that_is_absent_is_named_or_not_missed(
    package: str, tmp_path: Path, sentence_reader: Path
) -> None:
    extra = next(extra for extra, packages in PACKAGES.items() if package in packages)
    told = told_without([package], tmp_path, str(sentence_reader))
    assert {name: err for name, (code, err) in told.items() if code not in (0, 2)} == {}
    missed = [err for code, err in told.values() if "not installed" in err and code == 2]
    assert all(package in err and extra in err.partition("pip install")[2] for err in missed)
    if package not in ("accelerate", "peft", "gguf", "psycopg", "anthropic", "openai",
                       "tensorboard", "fastapi", "uvicorn"):  # fmt: skip
        assert missed


def test_the_table_is_what_the_package_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        extra: {line.partition(">")[0].partition("[")[0].replace("-", "_") for line in lines}
        for extra, lines in project["optional-dependencies"].items()
    }
    assert {extra: set(packages) for extra, packages in PACKAGES.items()} == {
        extra: names for extra, names in declared.items() if extra not in ("dev", "gpu")
    }


def test_a_package_that_says_in_words_what_it_lacks_and_one_that_is_no_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leadline.cli.extras.is_installed", lambda package: package != "accelerate")
    said = missing_extra(ImportError("Using the Trainer requires accelerate"), "train")
    assert said is not None
    assert "accelerate" in said.problem
    monkeypatch.undo()
    assert missing_extra(ModuleNotFoundError(name="numpy"), "inspect") is None
    assert is_installed("numpy")
    assert not is_installed("leadline_is_no_such.package")
