"""Each setting is one flag."""

import dataclasses

import click
import pytest

from leadline.cli.app import app
from leadline.cohort.config import WindowConfig
from leadline.evaluate.config import EvaluateConfig
from leadline.runs.config import TrainConfig
from leadline.scoring.config import ScoreConfig
from leadline.settings import flag
from leadline.simulate.config import SimulateConfig
from leadline.sources.config import ImportConfig

CONFIGS = {
    "import": (ImportConfig,), "simulate": (SimulateConfig,), "train": (TrainConfig, WindowConfig),
    "score": (ScoreConfig,), "evaluate": (EvaluateConfig,),
}  # fmt: skip


def command(name):
    return app.get_command(click.Context(app), name)


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
