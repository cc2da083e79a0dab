"""Settings of `leadline selftrain`."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.phq9.config import ReliabilityConfig
from leadline.settings import check_choices, same, setting


@dataclass(frozen=True)
class SelftrainConfig:
    """How pseudolabels are made, used and distrusted."""

    rounds: int = setting(3, "Most rounds of labelling and training anew.")
    even: bool = setting(
        False, "Weight pseudolabels so that gold and pseudolabels fill the bands evenly."
    )
    canary: float = setting(
        0.05, "Share of the gold labels permuted in a second chain that must not fit them (0: off)."
    )
    ablation: bool = setting(True, "Also train on raw teacher labels and on the teacher alone.")
    fuse: bool = setting(True, "Fuse teacher and student at scoring time where both spoke.")
    min_gain: float = setting(
        1.7, "Paired gain that a round must make, in its standard errors; chance makes 1.7 in 5%."
    )
    min_variance: float = setting(
        0.9, "Least variance of the predictions relative to what the model predicts."
    )
    min_slope: float = setting(0.95, "Least out-of-fold slope of gold on estimates.")
    max_slope: float = setting(1.05, "Greatest out-of-fold slope of gold on estimates.")
    canary_level: float = setting(0.01, "p below which the canary stops the rounds.")
    reliability: float = same(ReliabilityConfig, "reliability")

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 <= self.rounds <= 3:
            raise LeadlineError(
                f"--rounds is {self.rounds}.",
                remedy="Use 0 to 3; more rounds feed the model its own errors.",
            )
        if not 0 <= self.canary < 0.5:
            raise LeadlineError(
                f"--canary is {self.canary}.", remedy="Use a share from 0 to below 0.5."
            )
        if self.min_slope >= self.max_slope:
            raise LeadlineError(
                f"--min-slope {self.min_slope} with --max-slope {self.max_slope}.",
                remedy="Use a --min-slope below --max-slope.",
            )
