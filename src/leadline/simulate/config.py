"""Every knob of the simulator, once, and the presets that set several of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadline.errors import LeadlineError
from leadline.settings import check_choices, setting


@dataclass(frozen=True)
class SimulateConfig:
    """How simulated people feel, speak, and answer a PHQ-9.

    Severity is on the scale of the graded response model: standard deviations of the general
    adult population. Times are days.
    """

    people: int = setting(7125, "People to simulate.")
    gold: int = setting(3111, "People whose PHQ-9s are given for training.")
    locked: int = setting(842, "Locked test people; they too have PHQ-9s.")
    seed: int = setting(0, "Seed; the same seed gives the same bytes.", least=0)
    user_turns: float = setting(33.0, "Mean number of user turns of a person.")
    session_gap_days: float = setting(2.2, "Median days from one session to the next.")
    long_gap_share: float = setting(0.07, "Share of gaps that are a break of weeks.")
    severity_mean: float = setting(1.46, "Mean severity of the simulated people.")
    level_sd: float = setting(1.0, "SD of the stable level of severity between people.", least=0)
    ou_sd: float = setting(0.35, "SD of the Ornstein-Uhlenbeck path around the level.", least=0)
    ou_days: float = setting(21.0, "Time constant of that path.")
    jump_rate: float = setting(0.004, "Sudden changes per day (one a person at most).", least=0)
    jump_sd: float = setting(0.9, "SD of the size of a sudden change.", least=0)
    group_shift: float = setting(0.6, "Scale of the shift of severity by age and gender (0: none).")
    item_sd: float = setting(0.55, "SD of the stable deviation of a person on an item.", least=0)
    occasion_sd: float = setting(
        0.12, "SD of the noise of one administration of the PHQ-9.", least=0
    )
    style_sd: float = setting(0.3, "SD of the trait from minimising to amplifying.", least=0)
    expression_slope: float = setting(
        1.8, "Discrimination of words relative to PHQ-9 items.", least=0
    )
    ambiguity: float = setting(0.15, "Weight of a phrase one level away from its own (0 to 1).")
    stigma: float = setting(
        1.0, "Scale of the evasion of topics that carry stigma (0: none).", least=0
    )
    life_share: float = setting(0.2, "Share of turns about life rather than a symptom.")
    bare_share: float = setting(0.7, "Share of current symptoms told without person or tense.")
    marked_share: float = setting(0.12, "Share of symptoms marked as past, another's, or supposed.")
    frame_rate: float = setting(
        0.13, "Chance per turn that someone starts on a past, another or if."
    )
    frame_end: float = setting(0.22, "Chance per turn that such a frame ends.")
    contrast: float = setting(
        0.6, "How far what is told in a frame is the opposite of the person (0: unrelated)."
    )
    frame_close: float = setting(0.6, "Chance that the end of a frame is said.")
    held_out: float = setting(0.3, "Share of the templates that only locked people use (0: none).")
    follow_share: float = setting(0.8, "Chance that a turn takes up the assistant's question.")
    complete_severity: float = setting(-0.4, "Log odds of completing the PHQ-9 per SD of severity.")
    complete_adherence: float = setting(0.6, "Log odds of completing it per SD of sessions.")
    leak_share: float = setting(0.0, "Share of people asked the PHQ-9 in their chat.")
    shift_share: float = setting(0.0, "Share of people from another app, with its own style.")
    teacher_r: float = setting(
        0.68, "Correlation of a teacher draw with the PHQ-9, as far as the words allow."
    )
    teacher_slope: float = setting(0.6, "Slope of a teacher draw on the PHQ-9.")
    teacher_bias: float = setting(2.5, "Points by which the teacher over-estimates on average.")
    teacher_shared: float = setting(0.7, "Share of the teacher's noise that its draws share.")
    teacher_misread: float = setting(0.25, "Chance that the teacher misreads a modality.")
    teacher_verbosity: float = setting(0.8, "Points that an SD of words adds to a teacher draw.")
    teacher_group: float = setting(0.7, "Points by which the teacher scores women above men.")
    teacher_draws: int = setting(3, "Teacher draws per person and label time.")

    def __post_init__(self) -> None:
        check_choices(self)
        if min(self.gold, self.locked) < 0 or self.gold + self.locked > self.people:
            raise LeadlineError(
                f"{self.gold} gold and {self.locked} locked do not fit {self.people} people.",
                remedy="Lower --gold and --locked, or raise --people.",
            )
        for name in SHARES:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise LeadlineError(
                    f"--{name.replace('_', '-')} is {value}.", remedy="Use a share from 0 to 1."
                )
        if not 0.0 < self.teacher_r < 1.0 or self.teacher_draws < 1:
            raise LeadlineError(
                "The teacher needs a correlation between 0 and 1 and at least one draw.",
                remedy="Set --teacher-r and --teacher-draws accordingly.",
            )
        if self.people < 10:
            raise LeadlineError(
                f"--people is {self.people}.", remedy="Simulate at least 10 people."
            )
        if not 8 <= self.user_turns <= 45 or self.session_gap_days <= 0 or self.ou_days <= 0:
            raise LeadlineError(
                "People need 8 to 45 user turns on average, and positive gaps and time constants.",
                remedy="Change --user-turns, --session-gap-days or --ou-days.",
            )


SHARES = (
    "long_gap_share",
    "ambiguity",
    "life_share",
    "bare_share",
    "marked_share",
    "frame_rate",
    "frame_end",
    "frame_close",
    "contrast",
    "held_out",
    "follow_share",
    "leak_share",
    "shift_share",
    "teacher_shared",
    "teacher_misread",
)

_EASY = {
    "ambiguity": 0.1,
    "style_sd": 0.1,
    "frame_rate": 0.0,
    "marked_share": 0.0,
    "held_out": 0.0,
    "stigma": 0.3,
    "expression_slope": 2.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {**_EASY, "people": 240, "gold": 120, "locked": 60, "user_turns": 14.0},
    "easy": {**_EASY, "people": 1200, "gold": 700, "locked": 250},
}


def preset(name: str, **overrides: Any) -> SimulateConfig:
    """The configuration of a preset with some fields replaced.

    Raises:
        LeadlineError: no such preset.
    """
    if name not in PRESETS:
        raise LeadlineError(
            f"There is no preset {name!r}.", remedy=f"Use one of: {', '.join(PRESETS)}."
        )
    return SimulateConfig(**{**PRESETS[name], **overrides})
