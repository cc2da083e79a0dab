"""Any OpenAI-compatible server as the teacher: chat completions and the Batch API.

Protocol: https://platform.openai.com/docs/api-reference/chat and .../batch. With a base URL
this is also vLLM, llama.cpp, Ollama and `transformers serve`; the last of these takes a schema
and ignores it, so that there the prompt alone asks for JSON. A server that refuses a schema
needs `structured` off.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from leadline.teacher.client import (
    OFFICIAL,
    Answer,
    BatchRefused,
    Intent,
    SdkClient,
    batch_creation,
    batch_reading,
    plain_code,
)
from leadline.teacher.reasoning import openai_fields
from leadline.teacher.rubric import answer_schema, user_prompt
from leadline.teacher.thoughts import CUT_THOUGHT, split_thoughts
from leadline.teacher.transcript import Request

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"

MARK = "leadline"

EXTENSIONS = (
    "chat_template_kwargs", "thinking_token_budget", "thinking_budget_tokens",
)  # fmt: skip  # of compatible servers; the SDK sends them apart from OpenAI's own fields

ENDED = ("completed", "failed", "expired", "cancelled")


class OpenAIClient(SdkClient):
    """Implements `BatchClient` for OpenAI-compatible servers."""

    provider, maker = "openai", "OpenAI"

    def _ask(self, request: Request) -> Answer:
        params = self._params(request)
        extra = {name: params.pop(name) for name in list(params) if name in EXTENSIONS}
        reply = self._client.chat.completions.create(**params, extra_body=extra)
        if not isinstance(reply, self._sdk.types.chat.ChatCompletion):
            return Answer("failed", error="not the protocol", billed=True)
        return read_completion(reply.to_dict())

    def _params(self, request: Request) -> Any:
        config = self._connection.config
        official = self._connection.base_url == OFFICIAL["openai"]
        params: dict[str, Any] = {
            "model": config.model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": user_prompt(request.transcript)},
            ],
            # Reasoning models take only the new name, most local servers only the old one.
            "max_completion_tokens" if official else "max_tokens": config.longest_output,
            **openai_fields(config.thinking, official=official, way=config.reasoning_by),
        }
        if config.structured:
            params["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "rating", "strict": True, "schema": answer_schema()},
            }
        if config.temperature is not None:
            params["temperature"] = config.temperature
        return params

    # Batches

    def create_batch(self, token: str, requests: Sequence[Request]) -> str:
        """Upload the requests and create a batch that carries our token as metadata."""
        lines = [
            json.dumps(
                {
                    "custom_id": request.key,
                    "method": "POST",
                    "url": ENDPOINT,
                    "body": self._params(request),
                }
            )
            for request in requests
        ]
        body = io.BytesIO(("\n".join(lines) + "\n").encode())
        client = self._client.with_options(max_retries=0)
        with batch_creation(self._sdk, self.provider):
            upload = self._client.files.create(file=(f"{token}.jsonl", body), purpose="batch")
            batch = client.batches.create(
                input_file_id=upload.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={MARK: token},
            )
        return str(batch.id)

    def find_batch(self, intent: Intent, other_batches: Collection[str]) -> str | None:
        """The batch whose metadata holds our token."""
        with batch_reading(self._sdk, self.provider):
            for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(
                    MARK
                ) == intent.token and batch.id not in other_batches:
                    return str(batch.id)
        return None

    def batch_ended(self, provider_id: str) -> bool:
        """True once the batch is completed, failed, expired or cancelled."""
        with batch_reading(self._sdk, self.provider):
            return self._client.batches.retrieve(provider_id).status in ENDED

    def batch_answers(self, provider_id: str) -> Iterator[tuple[str, Answer]]:
        """Read the output file and the error file, in whatever order their lines come.

        Raises:
            BatchRefused: the whole batch was refused when it was validated.
        """
        with batch_reading(self._sdk, self.provider):
            batch = self._client.batches.retrieve(provider_id)
        if batch.status == "failed":
            codes = {str(item.code) for item in (batch.errors and batch.errors.data) or []}
            raise BatchRefused(", ".join(sorted(map(plain_code, codes))))
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                yield from self._lines(file_id)

    def _lines(self, file_id: str) -> Iterator[tuple[str, Answer]]:
        with (
            batch_reading(self._sdk, self.provider),
            self._client.files.with_streaming_response.content(file_id) as stream,
        ):
            for line in stream.iter_lines():
                if line.strip():
                    yield _read_entry(json.loads(line))


def _read_entry(entry: Mapping[str, Any]) -> tuple[str, Answer]:
    """One line of an output or error file."""
    key = str(entry["custom_id"])
    response, error = entry.get("response"), entry.get("error")
    if response and response.get("status_code") == 200:
        return key, read_completion(response["body"])
    if response:
        status = int(response.get("status_code") or 0)
        return key, Answer("failed", error=f"http {status}", again=status == 429 or status >= 500)
    code = str((error or {}).get("code") or "no response")
    again = code in ("batch_expired", "batch_cancelled")
    return key, Answer("failed", error=plain_code(code), again=again)


def read_completion(body: Mapping[str, Any]) -> Answer:
    """A chat completion's JSON as an `Answer`; servers leave out what they do not know."""
    usage = body.get("usage") or {}
    tokens_in, tokens_out = usage.get("prompt_tokens"), _output_tokens(usage)
    choices = body.get("choices") or []
    if not choices:
        return Answer("failed", None, tokens_in, tokens_out, error="no choices", billed=True)
    message, reason = choices[0].get("message") or {}, choices[0].get("finish_reason")
    inline, text = split_thoughts(message.get("content") or "", truncated=reason == "length")
    state, error = "done", None
    if message.get("refusal") or reason == "content_filter":
        state, error, text = "refused", "refusal", message.get("refusal") or text
    elif reason == "length":
        state, error = "truncated", "length" if text else CUT_THOUGHT
    thoughts = (message.get("reasoning"), message.get("reasoning_content"), inline)
    return Answer(
        *(state, text, tokens_in, tokens_out, error),
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
        thoughts=next((item for item in thoughts if isinstance(item, str) and item), None),
    )


def _output_tokens(usage: Mapping[str, Any]) -> int | None:
    """Tokens that are billed as output: some servers count thoughts in the total alone."""
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if None in (tokens_in, tokens_out, total):
        return tokens_out
    return max(int(tokens_out), int(total) - int(tokens_in))  # type: ignore[arg-type]
