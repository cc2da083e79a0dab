"""Settings of monitoring, kept in the store so that every process works by the same ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from leadline.errors import LeadlineError
from leadline.monitor.asks import AskRule
from leadline.settings import check_choices, same, setting
from leadline.store.schema import setting as setting_table

NAME = "monitor"


@dataclass(frozen=True)
class StandingConfig:
    """When a standing changes."""

    turning_at: float = setting(
        0.8, "Probability of a change of the size that counts, at which turning begins.",
        above=0, most=1,
    )  # fmt: skip
    turning_until: float = setting(0.6, "Probability below which turning ends.", least=0, most=1)
    pending_days: float = setting(3.0, "Days for which a person turns before it is said.", least=0)
    pending_conversations: int = setting(
        2, "Separate days with a conversation within them.", least=1
    )
    settling_days: float = setting(
        7.0, "Days in which a change that ended is still shown.", least=0
    )
    silent_days: float = setting(14.0, "Days without a message after which a person is silent.",
                                 above=0)  # fmt: skip
    least_words: int = setting(20, "Words of the person that an estimate has to rest on.", least=0)

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class MonitorConfig:
    """What a team decides once."""

    cut: tuple[float, ...] = setting(
        (10.0,), "Severity at which something is decided, points.", above=0, most=27
    )
    points: float = setting(5.0, "Points of change that count.", above=0, most=27)
    ask_share: float = setting(
        0.1, "Share of the people who may be asked that a night suggests.", least=0, most=1
    )
    cooldown_days: float = setting(
        14.0, "Days after a PHQ-9 or an ask in which nobody is asked again.", least=0
    )
    floor_days: float = setting(
        90.0, "Days after which an active person is asked, whatever an answer is worth.", above=0
    )
    random_share: float = setting(
        0.1, "Share of the asks that is drawn at random.", least=0, most=1
    )
    keep_days: float = setting(
        0.0, "Days for which superseded estimates and the texts of messages that were corrected "
        "or taken back are kept (0: for good).", least=0,
    )  # fmt: skip
    turning_at: float = same(StandingConfig, "turning_at")
    turning_until: float = same(StandingConfig, "turning_until")
    pending_days: float = same(StandingConfig, "pending_days")
    pending_conversations: int = same(StandingConfig, "pending_conversations")
    settling_days: float = same(StandingConfig, "settling_days")
    silent_days: float = same(StandingConfig, "silent_days")
    least_words: int = same(StandingConfig, "least_words")

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.cut:
            raise LeadlineError("No cut is given.", remedy="Give --cut at least once.")
        if self.cooldown_days > self.floor_days:
            raise LeadlineError(
                "--cooldown-days is above --floor-days.", remedy="Give fewer days of cooldown."
            )
        if self.turning_until > self.turning_at:
            raise LeadlineError(
                "--turning-until is above --turning-at.", remedy="Give a lower --turning-until."
            )

    @property
    def standing(self) -> StandingConfig:
        """When a standing changes."""
        return StandingConfig(
            self.turning_at, self.turning_until, self.pending_days, self.pending_conversations,
            self.settling_days, self.silent_days, self.least_words,
        )  # fmt: skip

    def ask_rule(self, sem: float) -> AskRule:
        """How asks are chosen, with the standard error of measurement of a PHQ-9 in points."""
        return AskRule(
            cuts=tuple(self.cut),
            weights=(1.0,) * len(self.cut),
            cooldown=self.cooldown_days,
            floor=self.floor_days,
            random_share=self.random_share,
            sem=sem,
        )


def write_config(connection: Connection, config: MonitorConfig) -> None:
    """Keep the settings in the store, in the place of those that were there."""
    connection.execute(delete(setting_table).where(setting_table.c.name == NAME))
    value = json.dumps(asdict(config))
    connection.execute(insert(setting_table).values(name=NAME, value=value))


def read_config(connection: Connection) -> MonitorConfig:
    """The settings of a store; the defaults where none were written."""
    query = select(setting_table.c.value).where(setting_table.c.name == NAME)
    text = connection.execute(query).scalar()
    if text is None:
        return MonitorConfig()
    fields = json.loads(text)
    return MonitorConfig(**fields | {"cut": tuple(fields["cut"])})
