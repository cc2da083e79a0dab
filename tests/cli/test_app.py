import os
import shutil
import subprocess
import sys
import time

import pytest
from tests.support.cohorts import files_of
from tests.support.commands import one_message

from leadline import __version__
from leadline.cli import flags
from leadline.cli.app import GROUPS, VERBS


@pytest.mark.parametrize("arguments", [(), *((verb,) for verb in VERBS), ("reader", "fetch")])
def test_every_verb_has_help(leadline, arguments):
    for mark in ("--help", "-h"):
        code, out, err = leadline(*arguments, mark)
        assert code == 0
        assert err == ""
        assert out.startswith("Usage: ")
        assert "Traceback" not in out


def test_help_lists_each_verb_once_and_says_what_an_estimate_is_not(leadline):
    _, out, _ = leadline("--help")
    for verb, what in VERBS.items():
        assert f"  {verb} " in out
        assert what.help in out
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(VERBS)
    assert "not a diagnosis" in " ".join(out.split())


HELP = """
import sys, time
start = time.perf_counter()
from leadline.cli import app as cli
sys.argv = ["leadline", "--help"]
try:
    cli.main()
except SystemExit:
    pass
print(time.perf_counter() - start, *sorted(sys.modules), file=sys.stderr)
"""


def test_help_imports_nothing_heavy_and_answers_fast():
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 5, "generous: .3 s is measured in bench/"
    seconds, *modules = done.stderr.split()
    assert float(seconds) < 2
    heavy = {"torch", "transformers", "polars", "pyarrow", "numpy", "scipy", "sklearn",
             "matplotlib", "jinja2", "peft"}  # fmt: skip
    assert not heavy & set(modules)
    assert "click" in modules


@pytest.mark.parametrize("verb", ["train", "import", "simulate", "score", "evaluate"])
def test_help_of_a_verb_imports_no_torch(verb):
    script = (
        "import sys; from leadline.cli import app as cli; "
        f"sys.argv = ['leadline', '{verb}', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)


def test_version(leadline):
    code, out, _ = leadline("--version")
    assert code == 0
    assert __version__ in out


BAD = {
    "no such cohort": (("train", "{tmp}/none", "--out", "{tmp}/x"), "no cohort directory here"),
    "a run as cohort": (("train", "{run}", "--out", "{tmp}/x"), "Expected a cohort, found 'run'"),
    "a file as cohort": (("train", "{tmp}/file", "--out", "{tmp}/x"), "no cohort directory here"),
    "no reader": (("train", "{cohort}", "--out", "{tmp}/x"), "leadline reader fetch smollm2"),
    "unknown reader": (("train", "{cohort}", "--out", "{tmp}/x", "--reader", "what"),
                       "neither a known reader"),
    "too many folds": (("train", "{cohort}", "--out", "{tmp}/x", "--reader", "{reader}", "--folds",
                        "30"), "44 labelled people cannot be split into 30 folds"),
    "one fold": (("train", "{cohort}", "--out", "{tmp}/x", "--folds", "1"), "--folds is 1"),
    "nan days": (("train", "{cohort}", "--out", "{tmp}/x", "--days", "nan"), "--days is nan"),
    "negative days": (("train", "{cohort}", "--out", "{tmp}/x", "--days", "-3"), "--days is -3"),
    "nan rate": (("train", "{cohort}", "--out", "{tmp}/x", "--lr", "nan"), "--lr is nan"),
    "bad layer": (("train", "{cohort}", "--out", "{tmp}/x", "--layers", "all"), "--layers holds"),
    "no choice": (("train", "{cohort}", "--out", "{tmp}/x", "--fit", "tree"), "'--fit'"),
    "no number": (("train", "{cohort}", "--out", "{tmp}/x", "--folds", "many"), "'--folds'"),
    "no such flag": (("train", "{cohort}", "--out", "{tmp}/x", "--fold", "3"), "No such option"),
    "no out": (("train", "{cohort}"), "--out"),
    "out is a file": (("train", "{cohort}", "--out", "{tmp}/file", "--reader", "{reader}"),
                      "The output is a file"),
    "out is no run": (("train", "{cohort}", "--out", "{cohort}", "--reader", "{reader}",
                       "--overwrite"), "is read for it"),
    "out is another kind": (("train", "{cohort}", "--out", "{other}", "--reader", "{reader}",
                             "--overwrite"), "What lies here is a 'cohort', not a 'run'"),
    "out is a thesis": (("train", "{cohort}", "--out", "{tmp}/folder", "--reader", "{reader}",
                         "--overwrite"), "is not a run"),
    "finished": (("train", "{cohort}", "--out", "{run}", "--reader", "{reader}"), "is finished"),
    "no verb": (("trian",), "No such command"),
    "score without run": (("score", "{cohort}", "--run", "{tmp}/none", "--out", "{tmp}/x"),
                          "no run directory here"),
    "score over a file": (("score", "{cohort}", "--run", "{run}", "--out", "{tmp}/file"),
                          "already exists"),
    "score over its turns": (("score", "{cohort}", "--run", "{run}", "--out",
                              "{cohort}/turns.parquet", "--overwrite"), "is read for it"),
    "score into the run": (("score", "{cohort}", "--run", "{run}", "--out", "{run}/x"),
                           "is read for it"),
    "export over the run": (("export", "{run}", "--out", "{run}", "--overwrite"), "is read for it"),
    "import over a run": (("import", "{tmp}/file", "--out", "{run}", "--overwrite"), "is a 'run'"),
    "label into the cohort": (("label", "{cohort}", "--out", "{cohort}", "--teacher", "simulated"),
                              "is read for it"),
    "label over a thesis": (("label", "{cohort}", "--out", "{tmp}/folder", "--teacher",
                             "simulated"), "no labels that Leadline began"),
    "verify nothing": (("verify", "{tmp}/none"), "nothing here that can be verified"),
    "score no cohort": (("score", "{run}", "--run", "{run}", "--out", "{tmp}/x"),
                        "Expected a cohort, found 'run'"),
    "score batch": (("score", "{cohort}", "--run", "{run}", "--out", "{tmp}/x", "--batch-people",
                     "0"), "--batch-people is 0"),
    "lock share": (("lock", "{cohort}", "--share", "nan"), "people are locked already"),
    "inspect nan": (("inspect", "{cohort}", "--days", "nan"), "--days is nan"),
    "inspect negative": (("inspect", "{cohort}", "--days", "-1"), "--days is -1"),
    "simulate nan": (("simulate", "--out", "{tmp}/x", "--ou-days", "nan"), "--ou-days is nan"),
    "simulate seed": (("simulate", "--out", "{tmp}/x", "--seed", "-1"), "--seed is -1"),
    "simulate over": (("simulate", "--out", "{cohort}", "--preset", "small"), "already exists"),
    "evaluate nothing": (("evaluate", "{tmp}/folder"), "unfinished"),
    "evaluate nan": (("evaluate", "{run}", "--prevalences", "nan"), "--prevalences is"),
    "report too early": (("report", "{run}"), "was not evaluated yet"),
    "demo too small": (("demo", "--out", "{tmp}/x", "--people", "10"), "--people is 10"),
    "demo seed": (("demo", "--out", "{tmp}/x", "--seed", "-1"), "--seed is -1"),
    "import nothing": (("import", "{tmp}/none", "--out", "{tmp}/x"), "What to do"),
    "fetch nonsense": (("reader", "fetch", "non sense"), "neither a known reader"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_message_and_leaves_nothing(
    leadline, tmp_path, cohort_path, trained, sentence_reader, case
):
    run = shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    places = {"tmp": tmp_path, "run": run, "cohort": cohort_path, "reader": sentence_reader,
              "other": shutil.copytree(cohort_path, tmp_path / "other")}  # fmt: skip
    arguments, message = BAD[case]
    before = files_of(tmp_path)
    folders = sorted(path for path in tmp_path.rglob("*") if path.is_dir())
    result = leadline(*(part.format(**places) for part in arguments))
    one_message(result, message, tmp_path, before)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_dir()) == folders


def test_the_entry_point_exits_with_2_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from leadline.cli.app import main; main()", "inspect", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_json_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        flags.show_json({"a": float("nan")})


@pytest.mark.parametrize("place", [1, 3])
def test_a_name_in_bytes_that_are_no_utf8_is_refused(leadline, tmp_path, place):
    arguments = ["import", tmp_path / "a.csv", "--out", tmp_path / "cohort"]
    arguments[place] = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    code, _, err = leadline(*arguments)
    assert code == 2
    assert f"Argument {place + 1} of the command holds bytes that are no UTF-8" in err
    assert list(tmp_path.iterdir()) == []
