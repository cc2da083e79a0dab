"""Recipes: settings of `leadline train` for a reader and a machine, and what they take.

A recipe is a TOML file with two tables. ``[train]`` holds settings of `TrainConfig` under their
own names. ``[resources]`` says what it takes: memory, tokens a second and hours, each measured
(by which script) or computed (by which formula, from `resources`). Those that come with Leadline
are in the package; any file of the kind can be given instead.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.finetune.resources import (
    SHAPES,
    Step,
    activation_bytes,
    hours,
    memory,
    speed,
    step_flops,
)
from leadline.runs.config import TrainConfig


def shipped() -> dict[str, Path]:
    """Name -> file of the recipes that come with Leadline."""
    folder = Path(str(files("leadline"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_file(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with Leadline.

    Raises:
        LeadlineError: there is neither.
    """
    if name in shipped():
        return shipped()[name]
    path = Path(name)
    if not path.is_file():
        raise LeadlineError(
            f"There is no recipe {name!r}.",
            remedy=f"Give a TOML file, or one of: {', '.join(shipped())}.",
        )
    return path


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a recipe as they are.

    Raises:
        LeadlineError: the file is no recipe.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlineError(
            "This recipe cannot be read as TOML.", remedy="Correct the file.", file=path
        ) from error
    if not isinstance(tables.get("train"), dict) or set(tables) - {"train", "resources"}:
        raise LeadlineError(
            "A recipe has a table [train] and may have one [resources].",
            remedy="Put the settings under [train]; `leadline train --help` lists them.",
            file=path,
        )
    return tables


def recipe_settings(name: str) -> dict[str, Any]:
    """Settings of `TrainConfig` that a recipe gives, checked.

    Args:
        name: a file, or a recipe that comes with Leadline.

    Raises:
        LeadlineError: no such recipe, a name that is no setting, or a value it may not have.
    """
    path = recipe_file(name)
    settings = read_tables(path)["train"]
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for key, value in settings.items():
        if key not in defaults:
            raise LeadlineError(
                f"{key!r} is no setting of `leadline train`.",
                remedy="Correct the name; `leadline train --help` lists the settings.",
                file=path,
            )
        if not _of_kind(value, defaults[key]):
            raise LeadlineError(
                f"{key} is {value!r} in this recipe.",
                remedy=f"Give a value like its default, {defaults[key]!r}.",
                file=path,
            )
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        TrainConfig(**settings)
    except LeadlineError as error:
        raise LeadlineError(error.problem, remedy=error.remedy, file=path) from error
    return settings


def _of_kind(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))


def step_of(config: TrainConfig, resources: Mapping[str, Any], tokens: int) -> Step:
    """The training step of a recipe on one of its devices, at `tokens` a person."""
    devices = int(resources["devices"])
    return Step(
        tokens=tokens,
        rows=-(-config.batch_people // devices),
        top=config.top,
        adapt=config.adapt,
        rank=config.rank,
        checkpointing=config.checkpointing,
        base_weights=config.base_weights,
        shards=devices if config.shard else 1,
    )


def computed(config: TrainConfig, resources: Mapping[str, Any]) -> dict[str, float]:
    """The figures of ``[resources]`` by the formulas of `finetune.resources`.

    Args:
        config: the recipe's settings.
        resources: its ``[resources]``: shape, device, devices, people, tokens, and for the speed
            ``utilisation``, the share of the device's peak that is assumed.

    Returns:
        ``memory_gib`` of a device at `max_tokens`, ``activations_gib`` of it,
        ``operations_a_token`` and, where a utilisation is assumed, ``tokens_a_second`` of all
        devices; ``hours`` of the whole command at the speed that `resources` gives, if it does.
    """
    (share,) = config.layer_numbers()
    shape = SHAPES[resources["shape"]].cut(float(share))
    worst = step_of(config, resources, config.max_tokens)
    usual = step_of(config, resources, int(resources["tokens"]))
    out = {
        "memory_gib": memory(shape, worst),
        "activations_gib": activation_bytes(shape, worst) / 2**30,
        "operations_a_token": step_flops(shape, usual),
    }
    if "utilisation" in resources:
        each = speed(shape, usual, float(resources["utilisation"]), resources["device"])
        out["tokens_a_second"] = int(resources["devices"]) * each
    if (speed_entry := resources.get("tokens_a_second")) is not None:
        trained_on = int(resources["people"]) * config.repeats * (config.folds - 1)
        out["hours"] = hours(
            trained_on, int(resources["tokens"]), speed_entry["value"], config.epochs
        )
    return out
