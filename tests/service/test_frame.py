"""Around every request: size, headers, the line in the log, failures without words."""

import logging

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.support.served import client_of

from leadline.service.errors import add_handlers
from leadline.service.frame import LARGEST_BODY, Frame, places
from leadline.service.metrics import Metrics

CANARY = "canaryword"


@pytest.fixture
def failing():
    """An application that fails with words, and one that streams none."""
    app = FastAPI()
    add_handlers(app)

    @app.get("/fail/{name}")
    def fail(name: str) -> None:
        raise ValueError(f"{CANARY} {name}")

    return app


def test_a_failure_is_answered_and_logged_without_its_words(failing, caplog):
    caplog.set_level(logging.DEBUG)
    client = TestClient(Frame(failing, Metrics()), raise_server_exceptions=False)
    answer = client.get(f"/fail/{CANARY}?x={CANARY}")
    assert answer.status_code == 500
    assert answer.json()["error"] == "broken"
    assert CANARY not in answer.text
    ours = [record for record in caplog.records if record.name.startswith("leadline")]
    assert any("ValueError in fail" in record.getMessage() for record in ours)
    assert any("/fail/{name} 500" in record.getMessage() for record in ours)
    assert not [record for record in ours if CANARY in record.getMessage() or record.exc_info]


def test_a_failure_outside_the_application_has_the_form_too(caplog):
    async def app(scope, receive, send):
        raise KeyError(CANARY)

    answer = TestClient(Frame(app, Metrics())).get("/")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "message", "remedy", "request"}
    assert CANARY not in answer.text + caplog.text


def test_a_body_that_is_too_large_is_not_read(sqlite_store):
    client = client_of(sqlite_store)
    answer = client.post("/v1/messages", content=b"x" * (LARGEST_BODY + 1))
    assert answer.status_code == 413

    def parts():
        for _ in range(90):
            yield b"x" * 100_000

    answer = client.post("/v1/messages", content=parts())
    assert answer.status_code == 413
    wrong = client.post("/v1/messages", content=b"x", headers={"Content-Length": "-1"})
    assert wrong.status_code in (400, 401, 413)


def test_every_answer_has_the_headers(sqlite_store):
    for path in ("/healthz", "/nothing", "/v1/worklist"):
        headers = client_of(sqlite_store).get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert len(headers["x-request-id"]) == 32


def test_places_hold_no_words():
    try:
        int(CANARY)
    except ValueError as error:
        text = places(error)
    assert text.startswith("ValueError in test_places_hold_no_words:")
    assert CANARY not in text


@pytest.mark.anyio
async def test_a_sender_who_leaves_is_no_failure(caplog):
    caplog.set_level(logging.INFO)

    async def app(scope, receive, send):
        raise AssertionError

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await Frame(app, Metrics())(scope, receive, send)
    assert "499" in caplog.text


@pytest.fixture
def anyio_backend():
    return "asyncio"
