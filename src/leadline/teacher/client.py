"""What every teacher client gives and takes, and the rule of what may leave the machine.

A client is handed a `Request` (a hash, two texts, a draw number) and nothing else, so it has
no person id to send. Retries of rate limits, overload and broken connections are the SDKs'
own; what they give up on comes back as an `Answer` with state ``failed``.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from leadline.errors import LeadlineError, missing_package
from leadline.teacher.config import LabelConfig, is_loopback
from leadline.teacher.transcript import Request

OFFICIAL = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


@dataclass(frozen=True)
class Connection:
    """How to reach a teacher.

    Attributes:
        config: model, shape and length of its answers, attempts and their time.
        base_url: where requests go; never left for the SDK to find in the environment.
    """

    config: LabelConfig
    base_url: str

    @property
    def loopback(self) -> bool:
        """True if requests stay on this machine."""
        return is_loopback(self.base_url)


@dataclass(frozen=True)
class Answer:
    """What came back for one request, before the rubric reads it.

    Attributes:
        state: ``done`` (there is a text to read), ``refused``, ``truncated`` or ``failed``.
        text: the answer.
        input_tokens, output_tokens: as the server counted them, None if it did not.
        error: a short code (``http 529``, ``expired``), never text of the conversation.
        billed: True if a failed attempt may have been billed.
        again: True if trying again may help.
        reasoning_tokens: those of `output_tokens` that were thoughts, None if the server did
            not count them.
        thoughts: what the teacher thought, apart from `text`; never part of a message.
    """

    state: str
    text: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    billed: bool = False
    again: bool = False
    reasoning_tokens: int | None = None
    thoughts: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Intent:
    """What is known of a batch whose creation was cut off.

    Attributes:
        token: our own mark of it.
        size: how many requests it holds.
        started: when its creation began, ISO 8601 with zone.
    """

    token: str
    size: int
    started: str


class Client(Protocol):
    """A teacher that answers one request at a time."""

    def ask(self, request: Request) -> Answer:
        """Send one request and wait for its answer."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class BatchClient(Client, Protocol):
    """A teacher that also takes many requests at once and answers within a day."""

    def create_batch(self, token: str, requests: Sequence[Request]) -> str:
        """Create a batch and return the provider's id. Never retried blindly.

        Raises:
            Uncertain: it is unknown whether the batch was created.
        """
        ...

    def find_batch(self, intent: Intent, other_batches: Collection[str]) -> str | None:
        """The provider's id of a batch that may have been created before a crash."""
        ...

    def batch_ended(self, provider_id: str) -> bool:
        """True once the results can be read."""
        ...

    def batch_answers(self, provider_id: str) -> Iterator[tuple[str, Answer]]:
        """(key, answer) in any order; keys without one were never processed."""
        ...


CODE_WORDS = frozenset((
    "api", "authentication", "batch", "billing", "canceled", "cancelled", "content", "context",
    "custom", "duplicate", "empty", "endpoint", "error", "exceeded", "expired", "file", "filter",
    "found", "id", "insufficient", "invalid", "json", "large", "length", "limit", "line", "method",
    "mismatched", "missing", "model", "no", "not", "overloaded", "parameter", "parse", "permission",
    "policy", "quota", "rate", "request", "response", "schema", "server", "timeout", "token",
    "tokens", "too", "unavailable", "unsupported", "url", "value",
))  # fmt: skip
"""Words of which providers make their error codes."""


def plain_code(code: str) -> str:
    """An error code of a provider as it is, if it is made of the usual words and of nothing else.

    >>> plain_code("rate_limit_exceeded"), plain_code("near: I feel so tired")
    ('rate_limit_exceeded', 'another code')
    """
    usual = len(code) < 80 and set(code.replace("_", " ").split()) <= CODE_WORDS
    return code if usual else "another code"


class Uncertain(Exception):
    """The connection broke while a batch was being created: it may exist or not."""


class Interrupted(Exception):
    """Polling or reading a batch broke off; it can be tried again without loss."""


class BatchRefused(Exception):
    """The provider refused a whole batch when it checked it; the message is its error codes."""


def resolve_url(provider: str, base_url: str | None) -> str:
    """The URL that requests go to; the SDKs' environment variables play no part.

    Raises:
        LeadlineError: not an http(s) URL, one that holds a password, or plain http to another
            machine.
    """
    if base_url is None:
        return OFFICIAL[provider]
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LeadlineError(
            f"--base-url is {base_url!r}.",
            remedy="Give a full URL such as http://127.0.0.1:8000/v1.",
        )
    if parts.username or parts.password:
        raise LeadlineError(
            "--base-url holds a user name or a password, which would be written to the manifest.",
            remedy=f"Leave it out; keys belong into {KEYS[provider]}.",
        )
    if parts.scheme == "http" and not is_loopback(base_url):
        raise LeadlineError(
            "--base-url would send text to another machine without encryption.",
            remedy="Use https, or tunnel the server to 127.0.0.1.",
        )
    return base_url


def check_consent(manifest: Mapping[str, Any], provider: str, url: str | None) -> None:
    """Refuse to send text off the machine unless the cohort says that it may.

    Args:
        manifest: the cohort's manifest; ``text_may_leave`` must be True.
        provider: the provider that the user named.
        url: where requests would go, None for a teacher that sends nothing.

    Raises:
        LeadlineError: the text may not leave.
    """
    if url is None or is_loopback(url) or manifest.get("text_may_leave") is True:
        return
    raise LeadlineError(
        f"This cohort's text may not leave the machine, and {provider} at "
        f"{urlsplit(url).hostname} is another machine.",
        remedy="If you have the right to share it, import the cohort again with "
        "--text-may-leave; or use a server on this machine (--base-url http://127.0.0.1:...).",
    )


def api_key(provider: str, url: str) -> str:
    """The key from the provider's environment variable; a loopback server needs none.

    A key is not sent to a loopback server: it may be anything that listens there.

    Raises:
        LeadlineError: it is needed and not set.
    """
    if is_loopback(url):
        return "none"
    key = os.environ.get(KEYS[provider], "")
    if not key:
        raise LeadlineError(
            f"There is no key for {provider}.",
            remedy=f"Set the environment variable {KEYS[provider]}.",
        )
    return key


def http_options(connection: Connection) -> dict[str, Any]:
    """Options of the HTTP client: what is on loopback stays there.

    A proxy from the environment or a redirect could carry a loopback request to another
    machine; redirects are off everywhere since consent was given for one host.
    """
    return {
        "trust_env": not connection.loopback,
        "follow_redirects": False,
        "timeout": connection.config.timeout,
    }


def stop_for(status: int, provider: str) -> LeadlineError:
    """The error for an answer that every further request would get as well."""
    reasons = {
        401: ("does not accept the key", f"Check {KEYS[provider]}."),
        402: ("asks for payment", "Check the account's billing."),
        403: ("does not allow this request", "Check the key's rights and the model's name."),
        404: ("does not know this model or address", "Check --model and --base-url."),
    }
    problem, remedy = reasons[status]
    return LeadlineError(
        f"{provider} {problem} (HTTP {status}). Nothing was lost: the run can be continued.",
        remedy=f"{remedy} Then run the same command again.",
    )


STOPPING = (401, 402, 403, 404)


def failed_with(status: int, provider: str) -> Answer:
    """What an HTTP error means for one request, after all retries.

    Raises:
        LeadlineError: every further request would fail in the same way.
    """
    if status in STOPPING:
        raise stop_for(status, provider)
    return Answer("failed", error=f"http {status}", again=status == 429 or status >= 500)


class SdkClient:
    """What a client of either SDK has: both are generated alike.

    Attributes:
        provider: the SDK's package; a subclass names it.
        maker: the SDK's class of clients.
        options: further arguments of that class.
    """

    provider: ClassVar[str]
    maker: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, connection: Connection) -> None:
        self._sdk = load_sdk(self.provider)
        self._connection = connection
        options = {**sdk_options(self._sdk, self.provider, connection), **self.options}
        self._client = getattr(self._sdk, self.maker)(**options)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, request: Request) -> Answer:
        """One request. Errors that would stop every request are raised."""
        return attempt(self._sdk, self.provider, lambda: self._ask(request))

    def _ask(self, request: Request) -> Answer:
        raise NotImplementedError


def load_sdk(provider: str) -> Any:
    """Import a provider's SDK."""
    try:
        return importlib.import_module(provider)
    except ImportError as error:
        raise missing_package(provider, "teacher", f"The {provider} teacher") from error


def sdk_options(sdk: Any, provider: str, connection: Connection) -> dict[str, Any]:
    """Arguments of an SDK's client."""
    return {
        "api_key": api_key(provider, connection.base_url),
        "base_url": connection.base_url,
        "max_retries": connection.config.retries,
        "timeout": connection.config.timeout,
        "http_client": sdk.DefaultHttpxClient(**http_options(connection)),
    }


def attempt(sdk: Any, provider: str, call: Callable[[], Answer]) -> Answer:
    """Make one request; what the SDK gives up on becomes a failed answer."""
    try:
        return call()
    except sdk.APIStatusError as error:
        return failed_with(error.status_code, provider)
    except sdk.APIConnectionError as error:
        return Answer("failed", error=type(error).__name__, billed=True, again=True)
    except sdk.APIError as error:  # a body that is not the protocol's
        return Answer("failed", error=type(error).__name__, billed=True)


@contextmanager
def batch_reading(sdk: Any, provider: str) -> Iterator[None]:
    """Turn a broken connection while batches are read into `Interrupted`."""
    import httpx2

    try:
        yield
    except sdk.APIStatusError as error:
        if error.status_code in STOPPING:
            raise stop_for(error.status_code, provider) from error
        raise Interrupted(f"http {error.status_code}") from error
    except (sdk.APIError, httpx2.HTTPError, json.JSONDecodeError) as error:
        raise Interrupted(type(error).__name__) from error


@contextmanager
def batch_creation(sdk: Any, provider: str) -> Iterator[None]:
    """Turn a failed creation into `Uncertain` where the batch may exist all the same."""
    try:
        yield
    except sdk.APIStatusError as error:
        raise batch_problem(error.status_code, provider) from error
    except sdk.APIConnectionError as error:
        raise Uncertain("batch creation") from error


def batch_problem(status: int, provider: str) -> Exception:
    """What an HTTP error at the creation of a batch means."""
    if status in STOPPING:
        return stop_for(status, provider)
    if status == 429 or status >= 500:
        return Uncertain(f"http {status}")
    return LeadlineError(
        f"{provider} refused the batch (HTTP {status}).",
        remedy="Check --model and --max-tokens; a smaller --batch-size may help.",
    )
