"""What surrounds every request: its number, size, headers, line in the log, and its failure.

Plain ASGI. The line holds the route as it is written in the code, never the address that was asked
for (there may be a person in it), no body and no text of an error. A failure that nobody foresaw is
logged by its type and its places.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from leadline.service.errors import REQUEST_ID, problem
from leadline.service.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("leadline.service")
LARGEST_BODY = 8_000_000  # bytes
CLIENT_LEFT = 499  # in the log alone
ACTOR = "leadline.actor"  # in the scope of a request
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Gone(Exception):
    """The sender left before the end of the request."""


class Frame:
    """Surrounds an application.

    Args:
        app: that answers.
        metrics: where requests are counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        status, begun = 500, time.perf_counter()
        started = False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = int(message["status"]), True
                headers = [*message.get("headers", []), *HEADERS]
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            body = await _body(scope, receive)
            if body is None:
                await _too_large(request_id)(scope, receive, answer)
            else:
                await self.app(scope, _replayed(body, receive), answer)
        except Gone:
            status = CLIENT_LEFT
        except Exception as error:  # noqa: BLE001  logged without its words, answered in one form
            LOG.error("request %s failed: %s", request_id, places(error))  # noqa: TRY400
            if not started:
                await _broken(request_id)(scope, receive, answer)
        finally:
            self._note(scope, status, time.perf_counter() - begun, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.request(method, route, status, seconds)
        actor = scope.get(ACTOR, "-")
        LOG.info("%s %s %s %d %.1f ms %s", request_id, method, route, status, seconds * 1e3, actor)


def _too_large(request_id: str) -> JSONResponse:
    return problem(request_id, 413, "too_large", "The request is above 8 MB.",
                   "Send smaller batches; nothing of it was stored.")  # fmt: skip


def _broken(request_id: str) -> JSONResponse:
    return problem(request_id, 500, "broken", "The service failed; this is a defect.",
                   "Tell whoever runs it the number of the request.")  # fmt: skip


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def places(error: BaseException) -> str:
    """The type of a failure and where it passed, without its words."""
    frames = traceback.extract_tb(error.__traceback__)
    passed = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-8:]))
    return f"{type(error).__name__} in {passed}"


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None as soon as it is too large.

    Raises:
        Gone: the sender left before the end.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > LARGEST_BODY):
            return None
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever else comes."""
    is_given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
