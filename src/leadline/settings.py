"""Settings: each is said once, as a documented field of a frozen dataclass.

Command-line flags and the settings page of the documentation are derived from these
fields. A check across fields raises `LeadlineError` and names the flags.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from leadline.errors import LeadlineError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with its help text and what it may hold.

    Args:
        default: its default.
        help: what it does, as help and documentation show it.
        choices: the words that it may take, if it is a choice.
        least: the smallest number that it may take.
        above: a number that it must be above.
        most: the largest number that it may take.
    """
    bounds = {"least": least, "above": above, "most": most}
    return field(default=default, metadata={"help": help, "choices": choices, **bounds})


def same(config: type, name: str) -> Any:
    """A dataclass field that another class of settings has: its default, help and bounds.

    Args:
        config: the class that declares it by `setting`.
        name: of the field there and here.
    """
    (declared,) = (item for item in dataclasses.fields(config) if item.name == name)
    metadata = {**declared.metadata, "declared_in": config}
    return field(default=declared.default, metadata=metadata)


def flag(name: str) -> str:
    """The command-line flag of a field: ``max_words`` -> ``--max-words``."""
    return "--" + name.replace("_", "-")


def check_choices(config: Any) -> None:
    """Raise `LeadlineError` if a field of `config` holds a word or number it may not take.

    NaN and infinity are refused in every field.
    """
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        choices = item.metadata.get("choices") or ()
        if choices and value not in choices:
            raise LeadlineError(
                f"{flag(item.name)} is {value!r}.", remedy=f"Use one of: {', '.join(choices)}."
            )
        numbers = [x for x in (value if isinstance(value, tuple) else (value,)) if _is_number(x)]
        if not all(_is_within(x, item.metadata) for x in numbers):
            remedy = f"Use {_range(item.metadata)}."
            raise LeadlineError(f"{flag(item.name)} is {value}.", remedy=remedy)


def _is_within(number: float, bounds: Mapping[str, Any]) -> bool:
    least, above, most = (bounds.get(name) for name in ("least", "above", "most"))
    return (
        math.isfinite(number)
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
    )


def _range(bounds: Mapping[str, Any]) -> str:
    """The numbers within `bounds` in words, such as ``above 0 and up to 1``."""
    least, above, most = (bounds.get(name) for name in ("least", "above", "most"))
    words = []
    if least is not None:
        words.append(f"{least:g} or more")
    if above is not None:
        words.append(f"a number above {above:g}")
    if most is not None:
        words.append(f"up to {most:g}")
    return " and ".join(words) or "a finite number"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
