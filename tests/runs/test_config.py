"""Settings of training that do not fit together."""

import dataclasses

import pytest

from leadline.errors import LeadlineError
from leadline.runs.config import TrainConfig
from leadline.runs.train import finetune_config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": 1}, "--folds"),
        ({"inner_folds": 1}, "--inner-folds"),
        ({"repeats": 0}, "--repeats"),
        ({"pool": "attention"}, "--pool attention with --adapt frozen"),
        ({"adapt": "lora", "reader": "smollm2+minilm"}, "--adapt lora with the readers"),
        ({"head": "scalar", "fit": "gp"}, "--head scalar with --fit gp"),
        ({"layers": ("0.5", "top")}, "--layers"),
        ({"layers": ("nan",)}, "--layers"),
        ({"layers": ("-3",)}, "--layers"),
        ({"layers": ("0",)}, "--layers"),
        ({"layers": ("1.5",)}, "--layers"),
        ({"layers": ()}, "--layers"),
        ({"sentence_layers": ()}, "--sentence-layers"),
        ({"sentence_layers": ("own", "0.5")}, "--sentence-layers"),
        ({"reader": ""}, "--reader"),
        ({"adapt": "lora", "top": 2.0}, "--top"),
        ({"top": 0.0}, "--top"),
        ({"rank": 0}, "--rank"),
        ({"epochs": 0.0}, "--epochs"),
        ({"lr": 0.0}, "--lr"),
        ({"max_tokens": 10}, "--max-tokens"),
        ({"fit": "forest"}, "--fit is 'forest'"),
    ],
)
def test_train_settings_that_do_not_fit_name_their_flags(given, message):
    with pytest.raises(LeadlineError, match=message):
        TrainConfig(**given)


TRAIN_FIELDS = {  # in the order of flags and of config.toml, by which an unfinished run goes on
    "reader": "auto", "layers": ("0.53", "0.67", "0.73", "0.8", "0.87"),
    "sentence_layers": ("0.67", "0.83", "1.0"), "pool": "mean",
    "adapt": "frozen", "head": "distribution", "fit": "auto", "lexical": "auto", "folds": 5,
    "repeats": 1,
    "inner_folds": 5, "seed": 0, "baselines": True, "include_phq8": False, "state": "mean",
    "max_tokens": 8192, "dtype": "auto", "loss": "mse", "top": 1 / 3, "rank": 16, "epochs": 4.0,
    "lr": 2e-4,
    "batch_people": 8, "accumulate": 1, "checkpointing": "none", "base_weights": "auto",
    "shard": False, "lower_gb": 2.0, "save_steps": 50, "stop_share": 0.0, "report_to": "none",
    "prior": "",
}  # fmt: skip


def test_fields_and_defaults_of_training_stay_in_their_order():
    fields = dataclasses.fields(TrainConfig)
    assert [(f.name, f.default) for f in fields] == list(TRAIN_FIELDS.items())
    kinds = [type(f.default) for f in fields]
    assert kinds == [type(value) for value in TRAIN_FIELDS.values()]


def test_layers_are_whole_numbers_or_shares_of_the_depth():
    numbers = TrainConfig(layers=("20", "0.67", "1.0", "1")).layer_numbers()
    assert numbers == (20, 0.67, 1.0, 1)
    assert [type(x) for x in numbers] == [int, float, float, int]


def test_the_papers_model_is_a_setting():
    config = TrainConfig(
        reader="smollm2", adapt="lora", head="scalar", pool="last", state="last", layers=("1.0",)
    )
    adapted = finetune_config(config, seed=3)
    assert (adapted.head, adapted.pooling, adapted.state, adapted.layers, adapted.seed) == (
        "scalar", "last", "last", (1.0,), 3,
    )  # fmt: skip
    default = finetune_config(TrainConfig(adapt="lora"), 0)
    assert len(default.layers) == 1, "one layer, not the views of a frozen reader"


def test_layers_of_a_sentence_encoder_are_numbers_or_its_own_embedding():
    assert TrainConfig().sentence_layer_numbers() == (0.67, 0.83, 1.0)
    assert TrainConfig(sentence_layers=("4", "1.0")).sentence_layer_numbers() == (4, 1.0)
    assert TrainConfig(sentence_layers=("own",)).sentence_layer_numbers() == ()
