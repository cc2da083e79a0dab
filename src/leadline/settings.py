"""Settings: each is said once, as a documented field of a frozen dataclass.

Command-line flags and the settings page of the documentation are derived from these
fields. A check across fields raises `LeadlineError` and names the flags.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import field
from typing import Any

from leadline.errors import LeadlineError


def setting(
    default: Any, help: str, *, choices: tuple[str, ...] = (), least: float | None = None
) -> Any:
    """A dataclass field with its help text and what it may hold.

    Args:
        default: its default.
        help: what it does, as help and documentation show it.
        choices: the words that it may take, if it is a choice.
        least: the smallest number that it may take.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "least": least})


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
        least = item.metadata.get("least")
        if choices and value not in choices:
            raise LeadlineError(
                f"{flag(item.name)} is {value!r}.", remedy=f"Use one of: {', '.join(choices)}."
            )
        numbers = [x for x in (value if isinstance(value, tuple) else (value,)) if _is_number(x)]
        if any(not math.isfinite(x) or (least is not None and x < least) for x in numbers):
            enough = "a finite number" if least is None else f"{least:g} or more"
            raise LeadlineError(f"{flag(item.name)} is {value}.", remedy=f"Use {enough}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
