"""Reasoning of a teacher: how each provider is asked for it, and what room it takes.

Anthropic: `thinking` of type ``adaptive`` with `output_config.effort`, ``enabled`` with a budget
for models of before that, or ``disabled``
(https://platform.claude.com/docs/en/build-with-claude/thinking).
OpenAI: `reasoning_effort` (https://developers.openai.com/api/docs/guides/reasoning). Servers of
open models have no common switch: vLLM and Ollama take `reasoning_effort`, chat templates
`enable_thinking` (Qwen, GLM, Gemma) or `thinking` (DeepSeek, Granite), budgets are
`thinking_token_budget` (vLLM), `thinking_budget_tokens` (llama.cpp) or the template's
`thinking_budget` (Qwen). A server passes over what it does not know, so all of them are sent.

Thoughts are billed as output tokens, and count towards the longest answer that a request allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadline.errors import LeadlineError

LEVELS = ("low", "medium", "high")

WORDS = ("default", "off", *LEVELS)

WAYS = ("auto", "effort", "template")

# Tokens of thought that a request allows. With the answer the largest stays below the 21,333 from
# which on Anthropic's SDK wants a stream, because an answer may then take over ten minutes.
ROOM = {"low": 4_000, "medium": 8_000, "high": 16_000}

EXPECTED_SHARE = 0.25  # of the room, for the expected cost before any answer is known

LEAST_BUDGET = 1024  # of Anthropic's API


@dataclass(frozen=True)
class Reasoning:
    """What a teacher is asked to think before it answers.

    Attributes:
        level: ``default`` (nothing is asked: the server decides), ``off``, one of `LEVELS`, or
            ``budget``.
        budget: tokens, if `level` is ``budget``.
        room: tokens of thought that a request allows beside the answer.
    """

    level: str
    budget: int = 0
    room: int = 0

    @property
    def on(self) -> bool:
        """True if thoughts are asked for."""
        return self.level not in ("default", "off")


def parse_reasoning(word: str, room: int = 0) -> Reasoning:
    """What `--reasoning` says.

    Args:
        word: one of `WORDS`, or a budget in tokens.
        room: tokens of thought that a request allows, 0 for what belongs to `word`.

    Raises:
        LeadlineError: another word.
    """
    if word in WORDS:
        asks = word in LEVELS
        return Reasoning(word, room=(room or ROOM[word]) if asks else 0)
    if word.isascii() and word.isdigit() and int(word) > 0:
        return Reasoning("budget", int(word), max(room, int(word)))
    raise LeadlineError(
        f"--reasoning is {word!r}.",
        remedy=f"Use one of: {', '.join(WORDS)}; or a budget in tokens such as 4096.",
    )


def check_reasoning(
    reasoning: Reasoning, teacher: str, *, official: bool, temperature: float | None
) -> None:
    """Refuse what a provider would refuse for every request.

    Args:
        reasoning: what is asked.
        teacher: the provider.
        official: requests go to the provider's own address.
        temperature: the sampling temperature that is asked for.

    Raises:
        LeadlineError: the provider has no such setting.
    """
    if teacher == "simulated" and reasoning.level != "default":
        raise LeadlineError(
            "--reasoning with --teacher simulated, which does not think.",
            remedy="Leave --reasoning out, or name a provider that reads.",
        )
    if teacher == "anthropic" and reasoning.level == "budget" and reasoning.budget < LEAST_BUDGET:
        raise LeadlineError(
            f"--reasoning is {reasoning.budget} tokens; Anthropic's smallest budget is "
            f"{LEAST_BUDGET}.",
            remedy=f"Use {LEAST_BUDGET} or more, or a level: {', '.join(LEVELS)}.",
        )
    if teacher == "openai" and official and reasoning.level == "budget":
        raise LeadlineError(
            "OpenAI's models take no budget of thoughts in tokens.",
            remedy=f"Use --reasoning {', '.join(LEVELS)}; --thought-tokens bounds their number.",
        )
    fixed = teacher == "anthropic" or (teacher == "openai" and official)
    if reasoning.on and fixed and temperature not in (None, 1.0):
        raise LeadlineError(
            f"--temperature {temperature} with --reasoning: models that think take none.",
            remedy="Leave --temperature out; draws differ without it.",
        )


def anthropic_fields(reasoning: Reasoning, *, keep: bool) -> dict[str, Any]:
    """What a Messages request holds for `reasoning`: ``thinking``, and ``effort`` for a level.

    Args:
        reasoning: what is asked.
        keep: whether the thoughts are to come back; if not, the server leaves them out.
    """
    if reasoning.level == "default":
        return {}
    if reasoning.level == "off":
        return {"thinking": {"type": "disabled"}}
    display = "summarized" if keep else "omitted"
    if reasoning.level == "budget":
        budget = {"type": "enabled", "budget_tokens": reasoning.budget}
        return {"thinking": {**budget, "display": display}}
    return {"thinking": {"type": "adaptive", "display": display}, "effort": reasoning.level}


def openai_fields(reasoning: Reasoning, *, official: bool, way: str) -> dict[str, Any]:
    """What a chat completion holds for `reasoning`.

    Args:
        reasoning: what is asked.
        official: requests go to OpenAI, which refuses fields that it does not know.
        way: one of `WAYS`, how another server is asked: by `reasoning_effort`, by the switches of
            chat templates, or by both.
    """
    if reasoning.level == "default":
        return {}
    effort: dict[str, Any] = {}
    if reasoning.level != "budget":
        effort["reasoning_effort"] = "none" if reasoning.level == "off" else reasoning.level
    if official or way == "effort":
        return effort
    switches: dict[str, Any] = {"enable_thinking": reasoning.on, "thinking": reasoning.on}
    template: dict[str, Any] = {"chat_template_kwargs": switches}
    if reasoning.level == "budget":
        switches["thinking_budget"] = reasoning.budget
        template["thinking_token_budget"] = reasoning.budget
        template["thinking_budget_tokens"] = reasoning.budget
    return template if way == "template" else {**effort, **template}
