"""Settings: each is said once, as a documented field of a frozen dataclass.

Command-line flags and the settings page of the documentation are derived from these
fields. A check across fields raises `LeadlineError` and names the flags.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from leadline.errors import LeadlineError


def setting(default: Any, help: str, *, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with its help text, and the words it may take if it is a choice."""
    return field(default=default, metadata={"help": help, "choices": choices})


def flag(name: str) -> str:
    """The command-line flag of a field: ``max_words`` -> ``--max-words``."""
    return "--" + name.replace("_", "-")


def check_choices(config: Any) -> None:
    """Raise `LeadlineError` if a choice field of `config` holds a word it may not take."""
    for item in dataclasses.fields(config):
        choices = item.metadata.get("choices") or ()
        if choices and getattr(config, item.name) not in choices:
            raise LeadlineError(
                f"{flag(item.name)} is {getattr(config, item.name)!r}.",
                remedy=f"Use one of: {', '.join(choices)}.",
            )


@dataclass(frozen=True)
class WindowConfig:
    """Which text counts towards a PHQ-9."""

    days: float = setting(14.0, "Days of text before a PHQ-9 that count towards it (0: all text).")
    min_turns: int = setting(1, "User turns that a window must hold to be used.")
    mask_questionnaire: bool = setting(
        False, "Blank spans that look like an administered questionnaire before reading."
    )

    def __post_init__(self) -> None:
        if self.days < 0 or self.min_turns < 1:
            raise LeadlineError(
                f"The window is {self.days} days with at least {self.min_turns} turns.",
                remedy="Use --days of 0 or more and --min-turns of 1 or more.",
            )
