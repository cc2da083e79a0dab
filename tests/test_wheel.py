"""The wheel in empty environments, with no extra and with each: a verb works or names an extra."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.canary import WORD
from tests.support.environments import build_wheel, make_environment
from tests.support.fetched import keep_reader
from tests.support.watched import SERVING
from tests.support.workbooks import write_workbook

from leadline.cli.app import VERBS
from leadline.cli.extras import PACKAGES
from leadline.cli.monitor import build_monitor

RUN = """
import contextlib, io, json, os, sys
folder, commands = sys.argv[1], json.loads(sys.argv[2])
os.chdir(folder)
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
    told[name] = (code or 0, out.getvalue(), err.getvalue())
print("told:" + json.dumps(told))
"""

FIT = ("--reader", "{reader}", "--folds", "4", "--inner-folds", "2", "--fit", "ridge")
SMALL = ("--people", "60", "--gold", "40", "--locked", "5")
SCORE = ("score", "cohort", "--run", "run", "--out")
RESAMPLES = ("--resamples", "200", "--curve-resamples", "100")
STORE = ("--store", "store.sqlite")
AWAY = ("--store", "postgresql://127.0.0.1:1/name", "--key-file", "store.sqlite.key")

PREPARED = {
    "simulate": ("simulate", "--out", "cohort", *SMALL),
    "simulate unlocked": ("simulate", "--out", "open", *SMALL[:4], "--locked", "0"),
    "train": ("train", "cohort", "--out", "run", *FIT),
    "prior": ("prior", "--out", "prior", "--reader", "{reader}"),
    "label": ("label", "cohort", "--out", "labels", "--teacher", "simulated"),
    "evaluate": ("evaluate", "run"),
    "init": ("monitor", "init", *STORE, "--run", "run"),
    "load": ("monitor", "load", "cohort", *STORE, "--consent", "simulated"),
    "token": ("monitor", "token", *STORE, "--name", "x", "--scope", "ingest", "--json",
              "--scope", "care", "--scope", "metrics"),
}  # fmt: skip
"""What verbs work on, made where everything is installed."""

COMMANDS = {
    "simulate": ((), ("simulate", "--out", "new/cohort", *SMALL)),
    "import": ((), ("import", "said.csv", "--out", "new/imported")),
    "import excel": (("excel",), ("import", "turns.xlsx", "--out", "new/workbook")),
    "inspect": ((), ("inspect", "cohort")),
    "lock": ((), ("lock", "open")),
    "relock": ((), ("relock", "cohort")),
    "verify": ((), ("verify", "cohort")),
    "verify labels": ((), ("verify", "labels")),
    "verify run": (("models",), ("verify", "run")),
    "train": (("models",), ("train", "cohort", "--out", "new/run", *FIT)),
    "prior": (("models",), ("prior", "--out", "new/prior", "--reader", "{reader}")),
    "ask": (("models",), ("ask", "cohort", "--run", "prior", "--out", "new/asks.csv")),
    "label": (("teacher",), ("label", "cohort", "--out", "new/labels", "--teacher", "simulated")),
    "audit": ((), ("audit", "cohort", "--labels", "labels")),
    "selftrain": (("models", "teacher"), ("selftrain", "cohort", "--out", "new/rounds", "--labels",
                                          "labels", *FIT, "--rounds", "1")),
    "score": (("models",), (*SCORE, "new/e.parquet")),
    "score with ray": (("cluster", "models"), (*SCORE, "new/r.parquet", "--engine", "ray",
                                               "--workers", "1")),
    "evaluate": ((), ("evaluate", "run", *RESAMPLES)),
    "evaluate on a cohort": (("models",), ("evaluate", "run", "--cohort", "cohort", *RESAMPLES)),
    "report": ((), ("report", "run")),
    "export": (("export", "models"), ("export", "run", "--out", "new/onnx")),
    "reader": ((), ("reader", "list")),
    "monitor init": (("models", "monitor"), ("monitor", "init", "--store", "new/s.sqlite",
                                             "--run", "run")),
    "monitor load": (("monitor",), ("monitor", "load", "cohort", *STORE, "--consent", "simulated")),
    "monitor token": (("monitor",), ("monitor", "token", *STORE, "--name", "y", "--scope", "care")),
    "monitor score": (("models", "monitor"), ("monitor", "score", *STORE, "--states", "new/states",
                                              "--once")),
    "monitor nightly": (("monitor",), ("monitor", "nightly", *STORE)),
    "monitor rescore": (("models", "monitor"), ("monitor", "rescore", *STORE, "--run", "prior")),
    "monitor promote": (("monitor",), ("monitor", "promote", *STORE, "{model}")),
    "monitor forget": (("monitor",), ("monitor", "forget", *STORE, "{person}", "--yes")),
    "monitor rekey": (("monitor",), ("monitor", "rekey", *STORE, "--new-key-file", "new.key")),
    "monitor doctor": (("monitor",), ("monitor", "doctor", *STORE, "--key-file", "new.key")),
    "demo": (("models", "teacher"), ("demo", "--out", "new/demo", "--people", "80")),
}  # fmt: skip
"""Each verb: the extras without which it does not go, and its words."""

ENVIRONMENTS = [(), *((extra,) for extra in PACKAGES), ("models", "teacher"),
                ("models", "monitor"), ("export", "models"), ("cluster", "models")]  # fmt: skip


def environment_of(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "LEADLINE_HOME": str(home), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def told(python: Path | str, folder: Path, home: Path, commands: dict) -> dict[str, list]:
    """What each command says in an environment: exit code, output, errors."""
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", RUN, str(folder), json.dumps(commands)],
        env=environment_of(home), capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(json.loads(done.stdout.rpartition("told:")[2]))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, wheel, sentence_reader):
    """What every verb works on; the home in which readers lie."""
    folder, home = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("home")
    keep_reader(home, sentence_reader, "minilm")
    write_workbook(folder / "turns.xlsx")
    (folder / "said.csv").write_text("person_id,role,text\np,user,low\n")
    commands = filled(PREPARED, {"reader": str(sentence_reader)})
    python = make_environment(tmp_path_factory.mktemp("full") / "env", wheel,
                              ("models", "teacher", "monitor"))  # fmt: skip
    done = told(python, folder, home, commands)
    assert {name: err for name, (code, _, err) in done.items() if code} == {}
    (folder / "token.json").write_text(done["token"][1])
    model = done["init"][1].partition("model ")[2].partition(";")[0]
    (folder / "new").mkdir()
    return folder, home, {"reader": str(sentence_reader), "model": model, "person": "p00001"}


def filled(commands: dict, words: dict[str, str]) -> dict[str, list[str]]:
    return {name: [word.format(**words) for word in words_of] for name, words_of in
            commands.items()}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("extras", ENVIRONMENTS, ids=lambda extras: "+".join(extras) or "none")
def test_a_verb_works_or_names_the_extras_that_it_lacks(made, wheel, tmp_path, extras):
    folder, home, words = made
    place = shutil.copytree(folder, tmp_path / "place")
    python = make_environment(tmp_path / "env", wheel, extras)
    chosen = {
        name: entry
        for name, entry in COMMANDS.items()
        if len(extras) < 2 or set(entry[0]) == set(extras)
    }
    commands = filled({name: command for name, (_, command) in chosen.items()}, words)
    for name, (code, _, err) in told(python, place, home, commands).items():
        lacking = set(chosen[name][0]) - set(extras)
        assert "Traceback" not in err
        if not lacking or code == 0:  # another extra may bring the very package
            assert code == 0, (name, err)
            continue
        assert code == 2, (name, err)
        assert err.count("Error") == 1, (name, err)
        named = set(err.partition("pip install 'leadline[")[2].partition("]'")[0].split(","))
        assert named & lacking, (name, err)
        assert named <= set(PACKAGES), (name, err)


@pytest.mark.slow
def test_the_service_needs_no_model(made, wheel, tmp_path):
    folder, home, words = made
    place = shutil.copytree(folder, tmp_path / "place")
    command = (*SERVING, place / "token.json", words["person"], WORD, *STORE)
    for extras in (("monitor",), ()):
        python = make_environment(tmp_path / f"env{len(extras)}", wheel, extras)
        done = subprocess.run(
            [str(word) for word in (python, *command)], env=environment_of(home), cwd=place,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if extras:
            assert done.returncode == 0, done.stderr
        else:
            assert "pip install 'leadline[models,monitor]'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("extras", "named"), [((), "models,monitor"), (("monitor",), "postgres"),
                                               (("postgres",), "models,monitor"),
                                               (("monitor", "postgres"), "")])  # fmt: skip
def test_a_store_in_postgresql_names_its_extra(made, wheel, tmp_path, extras, named):
    folder, home, _ = made
    python = make_environment(tmp_path / "env", wheel, extras)
    doctor = {"doctor": ["monitor", "doctor", *AWAY]}
    code, _, err = told(python, folder, home, doctor)["doctor"]
    assert code == 2, err
    assert "Traceback" not in err
    assert (f"'leadline[{named}]'" in err) if named else "can be reached" in err


@pytest.mark.slow
def test_the_command_itself_is_installed(wheel, tmp_path):
    python = make_environment(tmp_path / "env", wheel, ())
    for words in ((python.with_name("leadline"), "--version"), (python, "-m", "leadline", "-h")):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                              check=True, env=environment_of(tmp_path))  # fmt: skip
        assert "leadline" in done.stdout


def test_every_verb_is_tried():
    assert {words[0] for _, words in COMMANDS.values()} == set(VERBS)
    of_monitor = {words[1] for _, words in COMMANDS.values() if words[0] == "monitor"}
    assert of_monitor == set(build_monitor().commands) - {"serve"}, "which has a test of its own"
