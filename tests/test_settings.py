import dataclasses
from dataclasses import dataclass

import pytest

from leadline.cohort.config import WindowConfig
from leadline.errors import EXIT_CODE, LeadlineError, missing_package
from leadline.evaluate.config import EvaluateConfig
from leadline.runs.config import TrainConfig
from leadline.scoring.config import ScoreConfig
from leadline.settings import check_choices, flag, setting
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


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"days": -1}, "--days"),
        ({"days": 1e9}, "--days"),
        ({"min_turns": 0}, "--min-turns"),
    ],
)
def test_the_window_names_the_flag(given, flags):
    with pytest.raises(LeadlineError, match=flags):
        WindowConfig(**given)


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


def test_layers_are_whole_numbers_or_shares_of_the_depth():
    numbers = TrainConfig(layers=("20", "0.67", "1.0", "1")).layer_numbers()
    assert numbers == (20, 0.67, 1.0, 1)
    assert [type(x) for x in numbers] == [int, float, float, int]


def test_an_error_says_where_and_what_to_do():
    error = LeadlineError("Total 31.", remedy="Check the row.", file="a.csv", row=3)
    assert str(error) == "a.csv, row 3: Total 31.\n  What to do: Check the row."
    assert LeadlineError("x.", remedy="y.", row="line 2").where() == "line 2"
    assert str(LeadlineError("x.", remedy="y.")).startswith("x.")
    assert "pip install 'leadline[models]'" in str(missing_package("peft", "models", "LoRA"))
    assert EXIT_CODE == 2
