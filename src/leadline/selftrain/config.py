"""Settings of `leadline selftrain`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from leadline.cluster import LOCAL, RAY, ClusterConfig, check_engine
from leadline.errors import LeadlineError
from leadline.phq9.config import ReliabilityConfig
from leadline.selftrain.plan import CROSSFIT, PAPER
from leadline.selftrain.widening import WIDENINGS
from leadline.settings import check_choices, same, setting

GOLD_ONLY, ROUNDS_HEAD, SHOWN = "gold only", "gold only, head of the rounds", "leadline"
"""Names of models in the results: without pseudolabels, and what the run is used with."""

COURSE = "selftraining.json"
"""The rounds of a run and their decisions, on disk."""


def round_name(round_: int) -> str:
    """Name of the model of a round in the results."""
    return f"round {round_}" if round_ else GOLD_ONLY


@dataclass(frozen=True)
class SelftrainConfig:
    """How pseudolabels are made, used and distrusted."""

    rounds: int = setting(3, "Most rounds of labelling and training anew.")
    scheme: str = setting(
        CROSSFIT,
        "Adapted readers: crossfit proves that no label descends from its own person; paper sets "
        "one fold aside, costs less, and proves less.",
        choices=(CROSSFIT, PAPER),
    )
    members: int = setting(3, "Models of the final ensemble under --scheme paper.", least=1)
    measured_folds: int = setting(
        1,
        "Folds with gold on which a label model is measured under --scheme crossfit; more cost "
        "more fits.",
        least=1,
    )
    start: str = setting(
        "both",
        "Labels of the first round of an adapted reader: of teacher and model, or of the teacher "
        "alone.",
        choices=("both", "teacher"),
    )
    widen: str = setting(
        "all",
        "Which people without a PHQ-9 enter a round of an adapted reader first.",
        choices=WIDENINGS,
    )
    first_share: float = setting(
        0.5, "Share of them that enters the first round, unless --widen all.", above=0, most=1
    )
    intermediate: str = setting(
        "", "Smaller reader for models that only label; empty for the same reader."
    )
    budget_hours: float = setting(
        0.0, "Refuse a plan that takes longer, and name one that does not (0: no limit)."
    )
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
    engine: str = setting(
        LOCAL,
        "Where adapted readers are fitted: in this process, or in Ray workers, several at a time.",
        choices=(LOCAL, RAY),
    )
    ray_address: str = same(ClusterConfig, "ray_address")
    workers: int = same(ClusterConfig, "workers")

    def __post_init__(self) -> None:
        check_choices(self)
        check_engine(self.engine, self.ray_address, self.workers)
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

    def recorded(self) -> dict[str, Any]:
        """What decides on the numbers: all but where the work is done and what it may take."""
        elsewhere = ("engine", "ray_address", "workers")
        return {name: chosen for name, chosen in asdict(self).items() if name not in elsewhere}
