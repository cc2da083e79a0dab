"""Texts of messages: opened from the store, or asked of the app that keeps them.

An app that keeps the texts is asked with one POST of JSON (`{"person": …, "messages": [{"source":
…, "id": …}, …]}`) and answers `{"texts": [… in the same order]}`. Each text must be the one that
was sent when the message came in, which the store can tell without having it.
"""

from __future__ import annotations

import hmac
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from leadline.errors import LeadlineError, Unreachable
from leadline.store.messages import text_digest
from leadline.store.people import StoredPerson, external_id

TOKEN_VARIABLE = "LEADLINE_HISTORY_TOKEN"
SECONDS = 30
LARGEST_ANSWER = 64_000_000  # bytes


class Texts(Protocol):
    """Where the texts of messages are."""

    def read(self, stored: StoredPerson, rows: Sequence[Any]) -> list[str]:
        """The texts of rows of `message`, in order."""


class SealedTexts:
    """Texts that lie sealed in the store."""

    def read(self, stored: StoredPerson, rows: Sequence[Any]) -> list[str]:
        """Open each under the person's key."""
        if any(row["sealed_text"] is None for row in rows):
            raise LeadlineError(
                "The store holds no text of some messages.",
                remedy="Give --history-url, where the app answers with its texts.",
            )
        return [stored.key.open(bytes(row["sealed_text"]), "text", row["seq"]) for row in rows]


@dataclass(frozen=True)
class AppTexts:
    """Texts that an app keeps and is asked for.

    Attributes:
        url: where it answers; https, or this machine.
    """

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise LeadlineError(
                "The address of the app's texts is not safe: what people said would travel open.",
                remedy="Give --history-url with https://, or an address of this machine.",
            )

    def read(self, stored: StoredPerson, rows: Sequence[Any]) -> list[str]:
        """Ask the app, and hold each answer against what was sent."""
        if not rows:
            return []
        named = [
            stored.key.open(bytes(row["sealed_key"]), "key", row["seq"]).split("\x1f", 2)
            for row in rows
        ]
        texts = self._asked(external_id(stored), [(source, name) for _, source, name in named])
        if len(texts) != len(rows) or not all(isinstance(text, str) for text in texts):
            raise self._wrong("gave another number of texts than it was asked for")
        for (digest, _, _), text in zip(named, texts, strict=True):
            if not hmac.compare_digest(digest, text_digest(stored.key, text).hex()):
                raise self._wrong("gave another text than the one that was sent")
        return texts

    def _asked(self, person: str, messages: Sequence[tuple[str, str]]) -> list[Any]:
        listed = [{"source": source, "id": name} for source, name in messages]
        body = json.dumps({"person": person, "messages": listed}).encode()
        headers = {"Content-Type": "application/json"}
        if TOKEN_VARIABLE in os.environ:
            headers["Authorization"] = f"Bearer {os.environ[TOKEN_VARIABLE]}"
        request = urllib.request.Request(self.url, body, headers)
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                content = answer.read(LARGEST_ANSWER + 1)
        except (OSError, urllib.error.URLError) as error:
            raise Unreachable(
                f"The app that keeps the texts did not answer ({type(error).__name__}).",
                remedy="See that it runs; it is asked again.",
            ) from None
        if len(content) > LARGEST_ANSWER:
            raise self._wrong("gave a larger answer than texts can be")
        try:
            texts = json.loads(content)["texts"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._wrong("did not answer with texts") from None
        return texts if isinstance(texts, list) else []

    def _wrong(self, what: str) -> LeadlineError:
        return LeadlineError(
            f"The app that keeps the texts {what}.",
            remedy="See what it answers at --history-url; the messages are read when it is right.",
        )


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """What people said goes to the address that was given, and to no other."""

    def redirect_request(self, *_request: Any, **_how: Any) -> None:
        """Follow nothing."""
        return
