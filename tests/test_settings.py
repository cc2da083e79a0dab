import dataclasses
import importlib.util
import pkgutil
from dataclasses import dataclass

import pytest

import leadline
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.finetune.config import FinetuneConfig
from leadline.runs.config import TrainConfig
from leadline.runs.train import SHARED, finetune_config
from leadline.scoring.config import ScoreConfig
from leadline.settings import check_choices, flag, same, setting
from leadline.simulate.config import SimulateConfig

NAN, INFINITE = float("nan"), float("inf")


CONFIGS = (WindowConfig, TrainConfig, ScoreConfig, EvaluateConfig, SimulateConfig)


@dataclass(frozen=True)
class Example:
    """A settings class of the test."""

    colour: str = setting("red", "Its colour.", choices=("red", "blue"))
    sizes: tuple[float, ...] = setting((1.0,), "Its sizes.", least=0.5)
    deep: bool = setting(False, "Whether it is deep.", least=1)

    def __post_init__(self):
        check_choices(self)


def test_a_field_carries_its_help_choices_and_bound():
    colour, sizes, _ = dataclasses.fields(Example)
    assert colour.metadata["help"] == "Its colour."
    assert colour.metadata["choices"] == ("red", "blue")
    assert sizes.metadata["least"] == 0.5
    assert flag("max_words") == "--max-words"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "green"}, r"--colour is 'green'.*\n.*red, blue"),
        ({"sizes": (1.0, 0.4)}, r"--sizes is .*\n.*0.5 or more"),
        ({"sizes": (NAN,)}, "--sizes is"),
        ({"sizes": (1.0, INFINITE)}, "--sizes is"),
    ],
)
def test_a_value_that_a_field_may_not_take_names_its_flag(given, message):
    with pytest.raises(LeadlineError, match=message):
        Example(**given)


def test_values_at_the_bound_and_truth_values_are_taken():
    assert Example(colour="blue", sizes=(0.5, 3)).sizes == (0.5, 3)
    assert Example(deep=False).deep is False


def numeric_fields(config):
    return [f.name for f in dataclasses.fields(config) if isinstance(f.default, (int, float))
            and not isinstance(f.default, bool)]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (config, name, value)
        for config in CONFIGS
        for name in numeric_fields(config)
        for value in (NAN, INFINITE, -INFINITE)
    ],
)
def test_no_setting_takes_nan_or_infinity(config, name, value):
    with pytest.raises(LeadlineError):
        config(**{name: value})


MAY_BE_NEGATIVE = {  # means, slopes and differences
    "severity_mean", "teacher_slope", "teacher_bias", "teacher_verbosity", "teacher_group",
    "complete_severity", "complete_adherence", "group_shift",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "name"),
    [(c, n) for c in CONFIGS for n in numeric_fields(c) if n not in MAY_BE_NEGATIVE],
)
def test_a_count_a_share_or_a_seed_is_not_negative(config, name):
    with pytest.raises(LeadlineError, match="What to do"):
        config(**{name: -1})


def settings_classes():
    """Every class of settings of every room, and of the modules beside the rooms."""
    for room in pkgutil.iter_modules(leadline.__path__):
        place = f"leadline.{room.name}" + (".config" if room.ispkg else "")
        if room.name != "__main__" and importlib.util.find_spec(place):
            for value in vars(importlib.import_module(place)).values():
                if dataclasses.is_dataclass(value) and value.__module__ == place:
                    yield value


def test_each_setting_is_said_once():
    texts = {}
    for config in settings_classes():
        for item in dataclasses.fields(config):
            if "help" in item.metadata:  # other tables of plain values have none
                texts.setdefault(item.metadata["help"], []).append((config, item))
    assert len(texts) > 100
    for text, places in texts.items():
        classes = {config for config, _ in places}
        first = [config for config, item in places if "declared_in" not in item.metadata]
        assert len(first) == 1, f"{text!r} is said by {first}"
        assert all(i.metadata.get("declared_in", first[0]) in classes for _, i in places)


def test_a_field_that_is_declared_elsewhere_is_the_same_field():
    @dataclass(frozen=True)
    class Other:
        colour: str = same(Example, "colour")
        sizes: tuple[float, ...] = same(Example, "sizes")

    for item in dataclasses.fields(Other):
        (declared,) = (f for f in dataclasses.fields(Example) if f.name == item.name)
        assert item.default == declared.default
        assert item.metadata == {**declared.metadata, "declared_in": Example}
    with pytest.raises(LeadlineError, match="--sizes is"):
        check_choices(Other(sizes=(0.4,)))
    with pytest.raises(ValueError):
        same(Example, "shape")


def test_what_training_passes_on_is_what_an_adapted_reader_takes():
    assert set(SHARED) == {
        "adapt", "head", "loss", "state", "top", "rank", "epochs", "lr", "max_tokens",
        "batch_people", "accumulate", "checkpointing", "base_weights", "shard", "lower_gb",
        "save_steps", "stop_share", "report_to", "dtype",
    }  # fmt: skip
    given = {"adapt": "lora", "rank": 3, "top": 0.5, "state": "last", "max_tokens": 99}
    config = finetune_config(TrainConfig(**given), seed=4)
    assert {name: getattr(config, name) for name in given} == given
    assert config.seed == 4


@pytest.mark.parametrize("config", [TrainConfig, FinetuneConfig])
@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("top", (0.0, -0.1, 1.01, NAN), (1e-9, 1.0)),
        ("epochs", (0.0, -1.0), (0.5,)),
        ("lr", (0.0, INFINITE), (1e-9,)),
        ("rank", (0,), (1,)),
        ("batch_people", (0,), (1,)),
        ("accumulate", (0,), (1,)),
        ("save_steps", (0,), (1,)),
        ("lower_gb", (-1.0, NAN), (0.0, 30.0)),
        ("stop_share", (-0.1, 0.6, NAN), (0.0, 0.5)),
        ("max_tokens", (63,), (64,)),
    ],
)
def test_an_adapted_reader_is_bounded_alike_wherever_it_is_set(config, name, bad, good):
    for value in bad:
        with pytest.raises(LeadlineError, match=f"^{flag(name)} is {value}"):
            config(**{name: value})
    for value in good:
        assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"above": 0, "most": 1}, "a number above 0 and up to 1"),
        ({"least": 2}, "2 or more"),
        ({"most": 3}, "up to 3"),
        ({}, "a finite number"),
    ],
)
def test_the_remedy_names_the_bounds(bounds, words):
    @dataclass(frozen=True)
    class Bounded:
        share: float = setting(1.0, "A share.", **bounds)

    with pytest.raises(LeadlineError) as caught:
        check_choices(Bounded(share=NAN))
    assert caught.value.remedy == f"Use {words}."
