"""One form of an error, without a value that was sent."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.served import client_of, message, token_of

from leadline.service.errors import describe

FORM = {"error", "message", "remedy", "request"}
CANARY = "canaryword"
JSON = {"Content-Type": "application/json"}


def test_places_are_ours_and_never_a_senders():
    errors = [
        {"loc": ("body", "messages", 3, "time"), "type": "timezone_aware"},
        {"loc": ("body", "messages", 3, CANARY), "type": "extra_forbidden"},
        {"loc": (), "type": "whatever"},
    ]
    text = describe(errors)
    assert "body.messages[3].time has no time zone" in text
    assert CANARY not in text
    assert describe(errors * 3).endswith("and 4 more")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", f"/{CANARY}", 404), ("DELETE", "/v1/messages", 405), ("POST", "/v1/messages", 422),
     ("GET", f"/v1/people/{CANARY}/course", 404), ("GET", f"/v1/worklist?lane={CANARY}", 422),
     ("PATCH", f"/v1/asks/{CANARY}", 422)],
)  # fmt: skip
def test_every_error_has_the_form(sqlite_store, method, path, status):
    client = client_of(sqlite_store)
    client.headers |= token_of(sqlite_store, "ingest", "care")
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == FORM
    assert answer.json()["request"] == answer.headers["x-request-id"]
    assert CANARY not in answer.text


VALUES = st.recursive(
    st.just(CANARY) | st.integers() | st.none() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([CANARY, "text", "id"]), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = ["source", "id", "person", "conversation", "role", "time", "text", "turn", "replaces",
          CANARY]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(field=st.sampled_from(FIELDS), value=VALUES, whole=VALUES)
def test_whatever_is_sent_never_comes_back_and_stands_in_no_log(sqlite_store, field, value, whole):
    client = client_of(sqlite_store)
    client.headers |= token_of(sqlite_store, "ingest", "care")
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    logging.getLogger("leadline").setLevel(logging.DEBUG)
    try:
        bodies = [{"messages": [message(CANARY, CANARY, person=CANARY) | {field: value}]}, whole]
        for body in bodies:
            answer = client.post("/v1/messages", content=json.dumps(body), headers=JSON)
            assert answer.status_code in (200, 422)
            assert CANARY not in answer.text
        content = json.dumps({field: value, CANARY: whole})
        answer = client.put(f"/v1/people/{CANARY}", content=content, headers=JSON)
        assert CANARY not in answer.text
    finally:
        logging.getLogger().removeHandler(handler)
    assert lines
    assert not [line for line in lines if CANARY in line]


NO_JSON = {
    "cut": b"{",
    "no UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a long number": b'{"messages": 1' + b"0" * 5000,
    "not a number": b'{"messages": NaN}',
    "nothing": b"",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused(sqlite_store, body):
    client = client_of(sqlite_store)
    client.headers |= token_of(sqlite_store, "ingest")
    answer = client.post("/v1/messages", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == FORM


def test_another_content_type_is_refused(sqlite_store):
    client = client_of(sqlite_store)
    client.headers |= token_of(sqlite_store, "ingest")
    answer = client.post("/v1/messages", content=b'{"messages": []}',
                         headers={"Content-Type": "text/plain"})  # fmt: skip
    assert answer.status_code == 422
