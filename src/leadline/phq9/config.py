"""Settings of the instrument, which ceiling, label model and reliable change share."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.settings import check_choices, setting


@dataclass(frozen=True)
class ReliabilityConfig:
    """The reliability of one PHQ-9."""

    reliability: float = setting(
        0.84,
        "Retest reliability of the PHQ-9 total: of the noise ceiling, of the PHQ-9s in label "
        "models and of reliable change.",
        least=0.1,
        most=0.99,
    )

    def __post_init__(self) -> None:
        check_choices(self)
