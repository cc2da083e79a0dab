"""One form of an error, and never a value that was sent in it.

FastAPI's own answer to a wrong body holds the body. Here an error says where something is wrong
(place in the batch, name of the field) and of what kind; names of fields that nobody knows are not
repeated, since a sender can write anything there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from leadline.errors import LeadlineError, Unreachable
from leadline.service import bodies

REQUEST_ID = "leadline.request"  # in the scope of a request
RETRY_SECONDS = 5
SHOWN = 5  # wrong fields that are named
KNOWN_NAMES = frozenset(
    name
    for body in vars(bodies).values()
    if isinstance(body, type) and issubclass(body, BaseModel)
    for name in body.model_fields
) | {"body", "query", "path", "person", "number", "lane", "team", "after", "asof", "days"}
KINDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "json_invalid": "is not JSON",
    "too_long": "has too many entries",
    "too_short": "has too few entries",
    "string_too_long": "is too long",
    "string_too_short": "is empty",
    "timezone_aware": "has no time zone",
    "literal_error": "is none of the words that it may be",
}


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: by which a program knows it.
        message: what was wrong, without a value of the request.
        remedy: what to do.
    """

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.remedy = status, code, message, remedy


def problem(request_id: str, status: int, code: str, message: str, remedy: str) -> JSONResponse:
    """The answer that says what was wrong."""
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = {"error": code, "message": message, "remedy": remedy, "request": request_id}
    return JSONResponse(content, status, headers)


def add_handlers(app: FastAPI) -> None:
    """Have every error answered in the one form."""

    def of(request: Request, *parts: Any) -> JSONResponse:
        return problem(request.scope.get(REQUEST_ID, ""), *parts)

    async def invalid(request: Request, error: Any) -> JSONResponse:
        where = describe(error.errors())
        return of(request, 422, "invalid", f"The request is not as it should be: {where}.",
                  "See /v1/openapi.json; nothing of it was stored.")  # fmt: skip

    async def refused(request: Request, error: Any) -> JSONResponse:
        return of(request, error.status, error.code, error.message, error.remedy)

    async def plain(request: Request, error: Any) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        message = {
            404: "There is nothing at this address.",
            405: "This address does not take this method.",
        }.get(error.status_code, "The request could not be read.")
        return of(request, error.status_code, code, message, "See /v1/openapi.json.")

    async def away(request: Request, _error: Any) -> JSONResponse:
        return of(request, 503, "unavailable", "The store does not answer.", "Send it again.")

    async def wrong(request: Request, error: Any) -> JSONResponse:
        return of(request, 422, "invalid", error.problem, error.remedy)

    async def broken(request: Request, _error: Any) -> JSONResponse:
        remedy = "Tell whoever runs it the number of the request; sending again is safe."
        return of(request, 500, "broken", "The service failed; this is a defect.", remedy)

    handlers: Sequence[tuple[Any, Any]] = (
        (RequestValidationError, invalid), (Refused, refused), (HTTPException, plain),
        (Unreachable, away), (LeadlineError, wrong), (Exception, broken),
    )  # fmt: skip
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def describe(errors: Sequence[Any]) -> str:
    """Where and how a request is wrong, without a word of it."""
    named = [
        f"{_place(error['loc'])} {KINDS.get(error['type'], 'is not what it may be')}"
        for error in errors[:SHOWN]
    ]
    unnamed = len(errors) - len(named)
    return "; ".join(named) + (f"; and {unnamed} more" if unnamed > 0 else "")


def _place(parts: Sequence[int | str]) -> str:
    """A place such as `messages[3].time`; a name that is not ours is not repeated."""
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part in KNOWN_NAMES:
            place += f".{part}" if place else part
        else:
            place += ".(a field)" if place else "(a field)"
    return place or "the body"
