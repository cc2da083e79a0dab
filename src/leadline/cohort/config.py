"""Settings of the window: which text counts for which PHQ-9."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.settings import check_choices, setting

MOST_DAYS = 36_500.0


@dataclass(frozen=True)
class WindowConfig:
    """Which text counts towards a PHQ-9."""

    days: float = setting(
        14.0, "Days of text before a PHQ-9 that count towards it (0: all text).", least=0
    )
    min_turns: int = setting(1, "User turns that a window must hold to be used.", least=1)
    undated: bool = setting(
        False, "Take text without a time as said before every PHQ-9 of its person, and dated text "
        "as said before a PHQ-9 without a time; otherwise neither is read for it."
    )  # fmt: skip
    mask_questionnaire: bool = setting(
        False, "Blank spans that look like an administered questionnaire before reading."
    )
    keep_questionnaire: bool = setting(
        False, "Read a questionnaire that was given in the chat as any other text. Without this or "
        "--mask-questionnaire, training and labelling stop where there is one."
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_choices(self)
        if self.mask_questionnaire and self.keep_questionnaire:
            raise LeadlineError(
                "--mask-questionnaire and --keep-questionnaire exclude each other.",
                remedy="Give --mask-questionnaire to blank a questionnaire that was given in the "
                "chat, or --keep-questionnaire to read it.",
            )
        if self.days > MOST_DAYS:
            raise LeadlineError(
                f"--days is {self.days:g}.", remedy="Use --days 0 for all text before the PHQ-9."
            )


def window_of(fields: Any, file: Path) -> WindowConfig:
    """A window as a manifest or a record keeps it.

    Args:
        fields: what stands there; a field that is absent has its default.
        file: where, for messages.

    Raises:
        LeadlineError: it is none.
    """
    defaults = asdict(WindowConfig())
    is_window = isinstance(fields, dict) and all(
        name in defaults
        and isinstance(value, (int, float))
        and isinstance(value, bool) == isinstance(defaults[name], bool)
        for name, value in fields.items()
    )
    if not is_window:
        raise LeadlineError(
            "The window that is kept here is not as Leadline writes it.",
            remedy="Restore the file from a copy, or make it again with this version.",
            file=file,
        )
    return WindowConfig(**fields)
