import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import time

import click
import polars as pl
import pytest
from rich.console import Console
from tests.support.cohorts import files_of

from leadline import __version__
from leadline.artefact import write_json
from leadline.cli import flags
from leadline.cli.app import GROUPS, VERBS, app, main
from leadline.cohort.config import WindowConfig
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.summary import render_summary
from leadline.importing.config import ImportConfig
from leadline.runs.config import TrainConfig
from leadline.scoring.config import ScoreConfig
from leadline.settings import flag
from leadline.simulate.config import SimulateConfig

CONFIGS = {
    "import": (ImportConfig,), "simulate": (SimulateConfig,), "train": (TrainConfig, WindowConfig),
    "score": (ScoreConfig,), "evaluate": (EvaluateConfig,),
}  # fmt: skip


@pytest.fixture
def leadline(monkeypatch, capsys, home):
    """Run a command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("LEADLINE_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["leadline", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def command(name):
    return app.get_command(click.Context(app), name)


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


@pytest.mark.parametrize("verb", CONFIGS)
def test_each_setting_is_one_flag_with_its_help_and_default(verb):
    options = [p for p in command(verb).params if isinstance(p, click.Option)]
    flags = [name for option in options for name in option.opts]
    assert len(flags) == len(set(flags))
    for config in CONFIGS[verb]:
        for field in dataclasses.fields(config):
            (option,) = [o for o in options if o.name == field.name]
            assert option.opts == [flag(field.name)]
            assert option.help.startswith(field.metadata["help"])
            assert option.default == field.default or (not option.default and not field.default)
            choices = field.metadata["choices"]
            if choices:
                assert tuple(option.type.choices) == choices


def test_a_switch_has_its_opposite_and_a_list_repeats(leadline):
    options = {p.name: p for p in command("train").params}
    assert options["baselines"].secondary_opts == ["--no-baselines"]
    assert options["layers"].multiple
    assert options["folds"].type.name == "integer"
    assert options["lr"].type.name == "float"


def test_flags_reach_the_settings(monkeypatch, leadline, tmp_path, simulated_path):
    from leadline.runs import train

    caught = {}

    def catch(cohort, out, config, window, *, overwrite):
        caught.update(config=config, window=window, out=out, overwrite=overwrite)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_run", catch)
    code, _, err = leadline(
        "train", simulated_path, "--out", tmp_path / "run", "--reader", "minilm", "--no-baselines",
        "--layers", "3", "--layers", "0.5", "--days", "7", "--folds", "4", "--overwrite",
    )  # fmt: skip
    assert code == 130
    assert "the same command goes on" in err
    assert caught["config"] == TrainConfig(
        reader="minilm", baselines=False, layers=("3", "0.5"), folds=4
    )
    assert caught["window"] == WindowConfig(days=7.0)
    assert (caught["out"], caught["overwrite"]) == (tmp_path / "run", True)


def test_version(leadline):
    code, out, _ = leadline("--version")
    assert code == 0
    assert __version__ in out


def test_the_whole_course(leadline, tmp_path, sentence_reader):
    """Simulate, inspect, train, evaluate, report, score: each by its verb, JSON where it is."""
    cohort, run, out = tmp_path / "cohort", tmp_path / "run", tmp_path / "out.parquet"
    people = ("--people", "40", "--gold", "30", "--locked", "0", "--user-turns", "8")
    code, text, _ = leadline("simulate", "--out", cohort, "--preset", "easy", *people, "--json")
    assert code == 0
    assert json.loads(text)["people"] == 40
    code, text, _ = leadline("lock", cohort, "--share", "0.2", "--json")
    assert json.loads(text) == {"share": 0.2, "seed": 0, "by": "severity", "people": 6}
    code, text, _ = leadline("inspect", cohort, "--json")
    assert json.loads(text)["locked"] == 6
    code, text, _ = leadline("inspect", cohort)
    assert code == 0
    quick = ("--reader", sentence_reader, "--folds", "2", "--inner-folds", "2", "--fit", "ridge")
    code, text, err = leadline("train", cohort, "--out", run, *quick, "--json")
    assert code == 0, err
    assert json.loads(text)["sets"][0]["models"]["leadline"]["scores"]["mae"]["value"] > 0
    assert (run / "report.html").is_file()
    fast = ("--resamples", "100", "--curve-resamples", "100")
    code, text, _ = leadline("evaluate", run, "--cohort", cohort, *fast, "--json")
    assert json.loads(text)["sets"]
    code, text, err = leadline("evaluate", run, *fast)
    assert "MAE" in text
    assert "not a diagnosis" in err
    code, text, _ = leadline("report", run)
    assert text.strip() == str(run / "report.html")
    code, text, _ = leadline("score", cohort, "--run", run, "--out", out, "--json")
    assert json.loads(text)["estimates"] == pl.read_parquet(out).height
    code, text, err = leadline("score", cohort, "--run", run, "--out", out, "--overwrite")
    assert code == 0
    assert "40 people" in text
    assert "not a diagnosis" in err
    code, text, _ = leadline("reader", "list", "--json")
    assert json.loads(text) == {}


def test_a_flag_of_simulate_wins_over_the_preset(leadline, tmp_path):
    code, text, err = leadline(
        "simulate", "--out", tmp_path / "c", "--preset", "small", "--people", "190", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["people"] == 190
    settings = json.loads((tmp_path / "c" / "manifest.json").read_text())["settings"]
    assert settings["gold"] == 120
    assert settings["people"] == 190


def one_message(result, message, folder, before):
    code, out, err = result
    assert code == 2
    assert message in err
    assert "What to do: " in err or "Try 'leadline" in err
    assert "Traceback" not in err
    assert err.count("Error") == 1
    assert out == ""
    assert files_of(folder) == before


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
                       "--overwrite"), "Expected a run, found 'cohort'"),
    "out is a thesis": (("train", "{cohort}", "--out", "{tmp}/folder", "--reader", "{reader}",
                         "--overwrite"), "is not a run"),
    "finished": (("train", "{cohort}", "--out", "{run}", "--reader", "{reader}"), "is finished"),
    "no verb": (("trian",), "No such command"),
    "score without run": (("score", "{cohort}", "--run", "{tmp}/none", "--out", "{tmp}/x"),
                          "no run directory here"),
    "score over a file": (("score", "{cohort}", "--run", "{run}", "--out", "{tmp}/file"),
                          "already exists"),
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
    places = {"tmp": tmp_path, "run": run, "cohort": cohort_path, "reader": sentence_reader}
    arguments, message = BAD[case]
    before = files_of(tmp_path)
    folders = sorted(path for path in tmp_path.rglob("*") if path.is_dir())
    result = leadline(*(part.format(**places) for part in arguments))
    one_message(result, message, tmp_path, before)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_dir()) == folders


def break_weights(run):
    path = run / "checkpoint" / "repeat-0-fold-0.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    return str(path)


def break_format(run):
    path = run / "checkpoint" / "model.json"
    write_json(path, {**json.loads(path.read_text()), "format": 99})
    return "has format 99"


def break_manifest(run):
    (run / "manifest.json").write_text("{")
    return "cannot be read as JSON"


@pytest.mark.parametrize("damage", [break_weights, break_format, break_manifest])
def test_a_damaged_run_is_one_message(leadline, tmp_path, simulated_path, trained, damage):
    run = shutil.copytree(trained, tmp_path / "run")
    message = damage(run)
    before = files_of(tmp_path)
    result = leadline("score", simulated_path, "--run", run, "--out", tmp_path / "x.parquet")
    one_message(result, message, tmp_path, before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(leadline, tmp_path, simulated_path, sentence_reader):
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    result = leadline("train", simulated_path, "--out", shut / "run", "--reader", sentence_reader)
    one_message(result, "cannot be made here", tmp_path, {})


def test_the_entry_point_exits_with_2_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from leadline.cli.app import main; main()", "inspect", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_defect_keeps_its_traceback(leadline, monkeypatch, simulated_path):
    from leadline.cohort import inspect

    monkeypatch.setattr(inspect, "inspect_cohort", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        leadline("inspect", simulated_path)


def test_json_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        flags.show_json({"a": float("nan")})


def test_the_summary_shows_scores_intervals_ceiling_and_warnings():
    score = {"value": 3.456, "low": 3.0, "high": 4.0}
    results = {
        "sets": [
            {
                "people": 40, "labels": 50, "split": "out-of-fold",
                "models": {
                    "leadline": {
                        "scores": {"mae": score, "pearson": {"value": None}},
                        "explainable": {
                            "of_ceiling": 0.5, "of_limit": 0.617,
                            "gap_to_limit": {"r": -0.123, "mae": 1.456},
                        },
                    },
                    "constant": {
                        "scores": {"mae": {"value": 5.0, "low": None, "high": None}},
                        "explainable": {"of_ceiling": None, "of_limit": None, "gap_to_limit": {}},
                    },
                },
                "limit": {"r": 0.872, "mae": 2.64},
                "ceiling": {"default": {"reliability": 0.84, "r": 0.91, "auc_cut": 0.95}},
            }
        ],
        "warnings": [{"text": "few people"}], "simulated": True, "simulated_notice": "made up",
        "selftraining": None,
    }  # fmt: skip
    stream = io.StringIO()
    Console(width=200, file=stream).print(render_summary(results))
    text = stream.getvalue()
    for part in ("40 people, 50 PHQ-9s", "3.46 (3.00, 4.00)", "5.00", "0.910", "0.950",
                 "few people", "made up", "retest 0.84", "62%", "+1.46",
                 "0.872"):  # fmt: skip
        assert part in text
    results["sets"][0]["limit"] = None
    stream = io.StringIO()
    Console(width=200, file=stream).print(render_summary(results))
    assert "50%" in stream.getvalue()
    assert "limit" not in stream.getvalue()
    assert "pseudolabels" not in stream.getvalue()
