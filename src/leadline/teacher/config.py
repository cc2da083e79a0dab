"""Settings of `leadline label`: who is rated by whom, and at what cost."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from leadline.errors import LeadlineError
from leadline.settings import check_choices, setting
from leadline.teacher.reasoning import WAYS, Reasoning, check_reasoning, parse_reasoning

PROVIDERS = ("anthropic", "openai", "simulated")

WHO = ("all", "unlabelled", "labelled")

CHOICES = ("random", "bands", "uncertain")

BYTES_PER_TOKEN = 4.0  # of English text, for the expected cost only

STATES = ("pending", "sent", "batch", "done", "refused", "invalid", "truncated", "failed")

OPEN = ("pending", "sent", "batch")

REPEATABLE = ("refused", "invalid", "truncated", "failed")


def is_loopback(url: str) -> bool:
    """True if a URL's host is this machine by its very name (no look-up is made)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class LabelConfig:
    """Settings of `label`."""

    teacher: str = setting("simulated", "Who rates: the provider.", choices=PROVIDERS)
    model: str = setting("", "The provider's name of the model.")
    base_url: str | None = setting(None, "URL of a compatible server instead of the provider's.")
    rubric: Path | None = setting(
        None, "Rubric file to rate by instead of Leadline's own; each label names its version."
    )
    draws: int = setting(3, "Independent ratings of each reading.")
    who: str = setting("all", "Which people are rated; locked ones never are.", choices=WHO)
    batch: bool = setting(False, "Use the provider's batch service (half price, up to a day).")
    batch_size: int = setting(5000, "Requests in one batch.")
    poll_seconds: float = setting(30.0, "Pause between looks at a batch.")
    concurrency: int = setting(8, "Requests under way at once.")
    retries: int = setting(6, "Further attempts after a rate limit or a broken connection.")
    timeout: float = setting(600.0, "Seconds that one attempt may take.")
    max_usd: float | None = setting(None, "Stop before this much money is spent.")
    price_in: float | None = setting(None, "US dollars per million input tokens.")
    price_out: float | None = setting(None, "US dollars per million output tokens.")
    batch_price: float = setting(0.5, "Share of the price that a batch costs.")
    dry_run: bool = setting(False, "Count requests, tokens and cost; send and write nothing.")
    structured: bool = setting(True, "Have the server enforce the JSON schema.")
    max_tokens: int = setting(2000, "Longest answer, in tokens; thoughts have room of their own.")
    reasoning: str = setting(
        "default",
        "What the teacher thinks before it answers: default (as the server has it), off, low, "
        "medium, high, or a budget in tokens.",
    )
    reasoning_by: str = setting(
        "auto",
        "How a compatible server is asked: reasoning_effort, the switches of chat templates, or "
        "both (auto).",
        choices=WAYS,
    )
    thought_tokens: int = setting(
        0,
        "Room for thoughts beside --max-tokens (0: 4000, 8000 or 16000 by level; the budget).",
        least=0,
    )
    keep_thoughts: bool = setting(
        False, "Keep the thoughts too, in a file that only you can read; they retell the text."
    )
    temperature: float | None = setting(None, "Sampling temperature; the server's own if not set.")
    max_chars: int = setting(60_000, "Longest transcript; the oldest messages go first.")
    limit: int = setting(0, "Rate only the first so many readings (0: all).")
    limit_people: int = setting(
        0, "Rate only so many of the people without a PHQ-9 (0: all).", least=0
    )
    choose: str = setting(
        "random",
        "Which of them: at random; such that the bands of severity are evenly filled; or those of "
        "whom an estimate is least sure.",
        choices=CHOICES,
    )
    by_estimates: Path | None = setting(
        None, "Estimates of leadline score that say where people stand, for --choose."
    )
    seed: int = setting(0, "Seed of --choose; a larger --limit-people adds to a smaller one.")
    examples: int = setting(
        0,
        "People with a PHQ-9 whom the teacher is shown as examples, spread over the severities; "
        "every label then descends from them.",
        least=0,
    )
    repeat: str = setting("failed", "Final states to try again, separated by commas.")
    resend_lost: bool = setting(
        False, "Send again what an earlier, killed run may have paid for without an answer."
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.teacher != "simulated" and not self.model:
            raise LeadlineError(
                f"--teacher {self.teacher} needs a model.", remedy="Name it with --model."
            )
        if self.examples and self.teacher == "simulated":
            raise LeadlineError(
                f"--examples {self.examples} with --teacher simulated, which reads no prompt.",
                remedy="Leave --examples out, or name a provider that reads.",
            )
        self._check_choice()
        check_reasoning(
            self.thinking,
            self.teacher,
            official=self.base_url is None,
            temperature=self.temperature,
        )
        if min(self.draws, self.concurrency, self.batch_size, self.max_tokens) < 1:
            raise LeadlineError(
                "--draws, --concurrency, --batch-size or --max-tokens is below 1.",
                remedy="Use 1 or more.",
            )
        unknown = set(self.repeat_states) - set(REPEATABLE)
        if unknown:
            raise LeadlineError(
                f"--repeat holds {', '.join(sorted(unknown))}.",
                remedy=f"Use any of: {', '.join(REPEATABLE)}.",
            )
        if self.max_usd is not None and not self.priced and not self.free:
            raise LeadlineError(
                "--max-usd cannot be kept without prices.",
                remedy="Give --price-in and --price-out in US dollars per million tokens.",
            )

    def _check_choice(self) -> None:
        if self.choose != "random" and not (self.limit_people and self.by_estimates):
            raise LeadlineError(
                f"--choose {self.choose} needs to know how many people, and where they stand.",
                remedy="Give --limit-people, and --by-estimates with a table of leadline score.",
            )
        if self.by_estimates and not self.limit_people:
            raise LeadlineError(
                "--by-estimates without --limit-people: everybody is rated.",
                remedy="Say with --limit-people how many people are rated.",
            )
        if self.limit_people and self.who == "labelled":
            raise LeadlineError(
                "--limit-people counts people without a PHQ-9; --who labelled rates none of them.",
                remedy="Use --who all or unlabelled.",
            )

    @property
    def repeat_states(self) -> tuple[str, ...]:
        """`repeat` as a tuple."""
        return tuple(word.strip() for word in self.repeat.split(",") if word.strip())

    @property
    def thinking(self) -> Reasoning:
        """`reasoning` as it is asked for."""
        return parse_reasoning(self.reasoning, self.thought_tokens)

    @property
    def longest_output(self) -> int:
        """The most tokens that a request may be answered with, thoughts included."""
        return self.max_tokens + self.thinking.room

    @property
    def priced(self) -> bool:
        """True if both prices are given."""
        return self.price_in is not None and self.price_out is not None

    @property
    def free(self) -> bool:
        """True if requests cost nothing: simulated, or on this machine without a price."""
        local = self.base_url is not None and is_loopback(self.base_url)
        return self.teacher == "simulated" or (local and not self.priced)

    @property
    def resends(self) -> bool:
        """True if requests that a killed run left without an answer are sent again."""
        return self.resend_lost or self.free

    @property
    def prices(self) -> Prices:
        """Prices as the run uses them; zero where none are given."""
        factor = self.batch_price if self.batch else 1.0
        return Prices(self.price_in or 0.0, self.price_out or 0.0, factor, self.longest_output)


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens.

    Attributes:
        usd_in, usd_out: list prices.
        factor: of the list price that is paid (batches: one half).
        max_tokens: longest answer, thoughts included.
    """

    usd_in: float
    usd_out: float
    factor: float
    max_tokens: int

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """US dollars for so many tokens."""
        return self.factor * (tokens_in * self.usd_in + tokens_out * self.usd_out) / 1e6
