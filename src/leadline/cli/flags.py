"""From the fields of settings to flags, and what several verbs share."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from leadline.settings import flag

Command = Callable[..., None]


def settings(*configs: type) -> Callable[[Command], Command]:
    """Give a command one flag per field of each config class, and pass it the configs.

    The command's first arguments are instances of `configs`, in order. A field that several
    classes share is one flag.
    """

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def run(**values: Any) -> None:
            instances = []
            for config in configs:
                names = [field.name for field in dataclasses.fields(config)]
                instances.append(config(**{name: values[name] for name in names}))
            field_names = {field.name for config in configs for field in dataclasses.fields(config)}
            function(
                *instances,
                **{name: value for name, value in values.items() if name not in field_names},
            )

        return flags(*configs)(typing.cast(Command, run))

    return decorate


def flags(*configs: type) -> Callable[[Command], Command]:
    """Give a command one flag per field of each config class, and pass it their values."""
    options: dict[str, Callable[[Any], Any]] = {}
    for config in configs:
        kinds = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            options.setdefault(field.name, _option(field, kinds[field.name]))

    def decorate(function: Command) -> Command:
        for option in reversed(options.values()):
            function = option(function)
        return function

    return decorate


def _option(field: dataclasses.Field[Any], kind: Any) -> Callable[[Any], Any]:
    """The click option of a settings field."""
    name, text = flag(field.name), field.metadata.get("help", "")
    choices = field.metadata.get("choices") or ()
    default = None if field.default is dataclasses.MISSING else field.default
    if kind is bool:
        off = name.replace("--", "--no-", 1)
        return click.option(f"{name}/{off}", field.name, default=default, help=text,
                            show_default=True)  # fmt: skip
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return click.option(name, field.name, multiple=True, type=inner, default=default,
                            help=f"{text} Repeatable.", show_default=bool(default))  # fmt: skip
    if isinstance(kind, types.UnionType):  # such as float | None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if kind is Path:
        kind = click.Path(path_type=Path)
    if choices:
        kind = click.Choice(list(choices))
    has_default = default is not None and default != ""
    return click.option(
        name, field.name, type=kind, default=default, help=text, show_default=has_default
    )


OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="What to write.")

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what lies at --out.")

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def path_argument(name: str) -> Callable[[Any], Any]:
    """A positional path."""
    return click.argument(name, type=click.Path(path_type=Path))


def say(line: str) -> None:
    """One line for people, on stderr, so that stdout is for results."""
    click.echo(line, err=True)


def show_json(value: Any) -> None:
    """Print a result as JSON; NaN is refused because it is not JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))
