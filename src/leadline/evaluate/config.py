"""Settings of the evaluation, each said once."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.phq9.config import ReliabilityConfig
from leadline.settings import check_choices, same, setting

MIN_PEOPLE = 15  # below this, no correlation and no interval but those of shares and AUC

WEIGHED = ("label", "person")
"""What weighs the same in a score: each PHQ-9, or each person, whose PHQ-9s then share it."""

MIN_CLASS = 5  # people on each side of a cut, below which AUC and the screening table are null


@dataclass(frozen=True)
class EvaluateConfig:
    """How estimates are compared with gold labels."""

    resamples: int = setting(2000, "Bootstrap resamples of persons behind each 95% interval.")
    curve_resamples: int = setting(
        500, "Resamples behind the bands of curves and groups (AUC at every threshold, bands)."
    )
    seed: int = setting(0, "Seed of the bootstrap.", least=0)
    reference: str = setting("leadline", "The model that every other is compared with.")
    reliability: float = same(ReliabilityConfig, "reliability")
    further_reliability: tuple[float, ...] = setting(
        (0.88, 0.92),
        "Further retest reliabilities, for which the noise ceiling is shown beside it.",
        least=0.1,
        most=0.99,
    )
    prevalences: tuple[float, ...] = setting(
        (0.05, 0.10, 0.20, 0.40), "Prevalences of PHQ-9 >= 10 for which PPV and NPV are given."
    )
    cut: int = setting(10, "The screening cut on the total.")
    each: str = setting(
        "label",
        "What weighs the same in a score: each label (PHQ-9), so that people who answered more "
        "often count for more, or each person.",
        choices=WEIGHED,
    )
    bins: int = setting(4, "Quantile bins of the amount of dialogue.")

    def __post_init__(self) -> None:
        check_choices(self)
        if self.resamples < 100 or not 100 <= self.curve_resamples <= self.resamples:
            raise LeadlineError(
                f"There are {self.resamples} resamples and {self.curve_resamples} for curves.",
                remedy="Use --resamples of 100 or more and --curve-resamples from 100 up to it.",
            )
        if not all(0 < prevalence < 1 for prevalence in self.prevalences):
            raise LeadlineError(
                f"The prevalences are {list(self.prevalences)}.",
                remedy="Use --prevalences with values between 0 and 1, such as 0.1.",
            )
        if not 3 <= self.cut <= 24 or self.bins < 2:
            raise LeadlineError(
                f"The cut is {self.cut} and there are {self.bins} bins.",
                remedy="Use --cut from 3 to 24 and --bins of 2 or more.",
            )
