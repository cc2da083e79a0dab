import json

import pytest
from click.testing import CliRunner
from tests.support import ROOT

from leadline.cli.app import app
from leadline.errors import LeadlineError
from leadline.finetune.resources import DEVICE_GIB
from leadline.runs.config import TrainConfig
from leadline.runs.recipe import computed, read_tables, recipe_settings, shipped
from leadline.runs.train import finetune_config

FIGURES = ("memory_gib", "tokens_a_second", "hours")


def test_the_recipes_that_come_with_it():
    assert set(shipped()) == {
        "smollm2-cpu", "qwen3.5-0.8b-1gpu", "qwen3.5-27b-1xh100", "qwen3.5-27b-8xh100",
    }  # fmt: skip
    assert {p.name for p in (ROOT / "recipes").glob("*.toml")} == {f"{n}.toml" for n in shipped()}


@pytest.mark.parametrize("name", shipped())
def test_every_key_is_a_setting_and_every_figure_has_its_basis(name):
    config = TrainConfig(**recipe_settings(name))
    finetune_config(config, seed=0)  # what it says of fine-tuning goes together too
    about = read_tables(shipped()[name])["resources"]
    for figure in FIGURES:
        entry = about[figure]
        assert entry["value"] > 0
        assert entry["basis"] in ("measured", "computed")
        assert entry["formula"] if entry["basis"] == "computed" else entry["script"]
        assert (ROOT / entry.get("script", "bench")).exists()


@pytest.mark.parametrize("name", shipped())
def test_computed_figures_are_those_of_the_formulas(name):
    about = read_tables(shipped()[name])["resources"]
    found = computed(TrainConfig(**recipe_settings(name)), about)
    for figure in FIGURES:
        if about[figure]["basis"] == "computed":
            assert about[figure]["value"] == pytest.approx(found[figure], rel=0.005, abs=0.05)


@pytest.mark.parametrize("name", shipped())
def test_measured_figures_are_those_of_the_bench(name):
    about = read_tables(shipped()[name])["resources"]
    for figure in FIGURES:
        entry = about[figure]
        if entry["basis"] == "measured":
            value = json.loads((ROOT / "bench" / "results" / entry["results"]).read_text())
            for key in entry["entry"]:
                value = value[key]
            assert entry["value"] == pytest.approx(value)


def test_what_is_computed_fits_the_device():
    for path in shipped().values():
        about = read_tables(path)["resources"]
        if about["device"] in DEVICE_GIB:
            assert about["memory_gib"]["value"] < 0.95 * DEVICE_GIB[about["device"]], path.stem


def test_settings_that_are_none_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    for text, said in [
        ("[train]\nepoch = 2", "'epoch' is no setting"),
        ("[train]\nepochs = 'two'", "epochs is 'two'"),
        ("[train]\nshard = 1", "shard is 1"),
        ("[train]\nepochs = -1.0", "--epochs is -1"),
        ("[train]\nlayers = [20]", "layers is"),
        ("[train]\n[extra]", "table \\[train\\]"),
        ("epochs = 2", "table \\[train\\]"),
        ("[train", "as TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(LeadlineError, match=said) as caught:
            recipe_settings(str(path))
        assert caught.value.file == path
    with pytest.raises(LeadlineError, match="no recipe 'qwen'") as caught:
        recipe_settings("qwen")
    assert "qwen3.5-27b-1xh100" in caught.value.remedy


def test_a_flag_that_is_given_wins_over_the_recipe(tmp_path, monkeypatch, simulated_path):
    from leadline.runs import train

    seen = []
    monkeypatch.setattr(train, "train_run", lambda *args, **given: seen.append(args[2]))
    common = ["train", str(simulated_path), "--out", str(tmp_path / "run")]
    for extra in (
        [],
        ["--recipe", "qwen3.5-27b-8xh100"],
        ["--epochs", "1", "--no-shard", "--layers", "0.5", "--recipe", "qwen3.5-27b-8xh100"],
        ["--recipe", str(ROOT / "recipes" / "smollm2-cpu.toml"), "--days", "7"],
    ):
        done = CliRunner().invoke(app, [*common, *extra], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    plain, big, own, small = seen
    assert plain == TrainConfig()
    assert (big.epochs, big.shard, big.layers, big.reader) == (2.0, True, ("1.0",), "qwen3.5-27b")
    assert (own.epochs, own.shard, own.layers, own.max_tokens) == (1.0, False, ("0.5",), 32768)
    assert small == TrainConfig(**recipe_settings("smollm2-cpu"))
