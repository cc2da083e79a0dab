"""Anthropic models as the teacher: the Messages API and Message Batches, through the SDK.

Protocol: https://platform.claude.com/docs/en/api/messages and
https://platform.claude.com/docs/en/build-with-claude/batch-processing. Batches hold at most
100,000 requests, cost half, end within 24 hours and answer in any order. A batch cannot carry
a mark of ours, so one whose creation was cut off is found again by its time and size and
proved by the `custom_id`s of its results.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from leadline.teacher.client import (
    Answer,
    Intent,
    SdkClient,
    batch_creation,
    batch_reading,
    plain_code,
)
from leadline.teacher.reasoning import anthropic_fields
from leadline.teacher.rubric import answer_schema, user_prompt
from leadline.teacher.thoughts import CUT_THOUGHT, split_thoughts
from leadline.teacher.transcript import Request

CLOCK_SKEW = timedelta(minutes=5)

TRANSIENT = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")


class AnthropicClient(SdkClient):
    """Implements `BatchClient` for the Anthropic API."""

    provider, maker = "anthropic", "Anthropic"
    options: ClassVar = {"open_telemetry": False}

    def _ask(self, request: Request) -> Answer:
        message = self._client.messages.create(**self._params(request))
        if not isinstance(message, self._sdk.types.Message) or message.usage is None:
            return Answer("failed", error="not the protocol", billed=True)
        return self._read(message)

    def _params(self, request: Request) -> Any:
        config = self._connection.config
        params: dict[str, Any] = {
            "model": config.model,
            "max_tokens": config.longest_output,
            "system": request.system,
            "messages": [{"role": "user", "content": user_prompt(request.transcript)}],
        }
        fields = anthropic_fields(config.thinking, keep=config.keep_thoughts)
        output: dict[str, Any] = {}
        if config.structured:
            schema = self._sdk.transform_schema(answer_schema())
            output["format"] = {"type": "json_schema", "schema": schema}
        if "effort" in fields:
            output["effort"] = fields.pop("effort")
        if output:
            params["output_config"] = output
        params.update(fields)
        if config.temperature is not None:
            params["extra_body"] = {"temperature": config.temperature}
        return params

    def _read(self, message: Any) -> Answer:
        usage = message.usage
        tokens_in = sum(
            count or 0
            for count in (
                usage.input_tokens,
                usage.cache_creation_input_tokens,
                usage.cache_read_input_tokens,
            )
        )
        joined = "".join(block.text for block in message.content if block.type == "text")
        # Servers of open models speak this protocol too, and may leave thoughts in the text.
        inline, text = split_thoughts(joined, truncated=message.stop_reason == "max_tokens")
        blocks = [block.thinking for block in message.content if block.type == "thinking"]
        details = usage.output_tokens_details
        state, error = {
            "refusal": ("refused", "refusal"),
            "max_tokens": ("truncated", "max_tokens"),
            "model_context_window_exceeded": ("truncated", "context window"),
        }.get(message.stop_reason, ("done", None))
        if error == "max_tokens" and not text:
            error = CUT_THOUGHT
        return Answer(
            *(state, text, tokens_in, usage.output_tokens, error),
            reasoning_tokens=details.thinking_tokens if details else None,
            thoughts="\n\n".join(filter(None, blocks)) or inline,
        )

    # Batches

    def create_batch(self, token: str, requests: Sequence[Request]) -> str:
        """Create a Message Batch; without SDK retries, which could create it twice."""
        del token  # a Message Batch has no place for it
        entries: list[Any] = []
        for request in requests:
            params = self._params(request)
            params.update(params.pop("extra_body", {}))
            entries.append({"custom_id": request.key, "params": params})
        client = self._client.with_options(max_retries=0)
        with batch_creation(self._sdk, self.provider):
            batch = client.messages.batches.create(requests=entries)
        return str(batch.id)

    def find_batch(self, intent: Intent, other_batches: Collection[str]) -> str | None:
        """The oldest batch since the intent with as many requests, not in `other_batches`."""
        since = datetime.fromisoformat(intent.started) - CLOCK_SKEW
        oldest = None
        with batch_reading(self._sdk, self.provider):
            for batch in self._client.messages.batches.list(limit=100):
                if batch.created_at < since:
                    break  # newest first
                total = sum(batch.request_counts.model_dump().values())
                if total == intent.size and batch.id not in other_batches:
                    oldest = batch.id
        return oldest

    def batch_ended(self, provider_id: str) -> bool:
        """True once processing has ended."""
        with batch_reading(self._sdk, self.provider):
            batch = self._client.messages.batches.retrieve(provider_id)
        return bool(batch.processing_status == "ended")

    def batch_answers(self, provider_id: str) -> Iterator[tuple[str, Answer]]:
        """Stream the results, in whatever order they come."""
        with batch_reading(self._sdk, self.provider):
            for entry in self._client.messages.batches.results(provider_id):
                yield entry.custom_id, self._entry(entry.result)

    def _entry(self, result: Any) -> Answer:
        if result.type == "succeeded":
            return self._read(result.message)
        if result.type == "errored":
            code = result.error.error.type
            return Answer("failed", error=plain_code(code), again=code in TRANSIENT)
        return Answer("failed", error=result.type, again=True)  # not processed, not billed
