"""The interface as its OpenAPI says it: whatever is sent, it answers as declared."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.service.conftest import modelled
from tests.support.served import client_of, token_of

from leadline.service.app import framed, make_app

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance, negative_data_rejection,
]  # fmt: skip
WITHOUT_INPUT = ("GET /healthz", "GET /readyz", "GET /metrics")  # nothing can be wrong there
load_all_checks()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The interface over a store with a model, its operations, and headers by scope."""
    store = modelled("sqlite", tmp_path_factory.mktemp("api"))
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", framed(make_app(store)))
    scopes = ("ingest", "care", "metrics")
    tokens = {scope: token_of(store, scope) for scope in scopes} | {"all": token_of(store, *scopes)}
    yield schema, tokens
    store.close()


def operations(schema):
    return {f"{o.ok().method.upper()} {o.ok().path}": o.ok() for o in schema.get_all_operations()}


def test_the_interface_has_these_routes_and_each_but_two_asks_for_a_token(api):
    schema, _ = api
    assert set(operations(schema)) == {
        "POST /v1/messages", "POST /v1/messages/retract", "POST /v1/phq9",
        "POST /v1/people/{person}/phq9/{number}/retract",
        "POST /v1/people/{person}/phq9/{number}/seen", "PUT /v1/people/{person}",
        "GET /v1/people/{person}/course", "GET /v1/people/{person}/estimates",
        "GET /v1/worklist", "POST /v1/asks", "PATCH /v1/asks/{number}",
        "GET /healthz", "GET /readyz", "GET /metrics",
    }  # fmt: skip


def call(operation, headers, examples, mode):
    """Send generated requests to an operation; the statuses that it answered with."""
    statuses = set()

    @settings(max_examples=examples, database=None, derandomize=True, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        response = case.call(headers=dict(headers))
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    send()
    return statuses


def call_all(api, token, examples, mode):
    schema, tokens = api
    return {
        (name, status)
        for name, operation in operations(schema).items()
        if mode is GenerationMode.POSITIVE or name not in WITHOUT_INPUT
        for status in call(operation, tokens[token], examples, mode)
    }


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_is_sent_is_answered_as_declared(api, mode):
    statuses = call_all(api, "all", 12, mode)
    if mode is GenerationMode.POSITIVE:
        assert ("GET /metrics", 200) in statuses
    else:
        assert ("POST /v1/messages", 422) in statuses


@pytest.mark.slow
@pytest.mark.parametrize("token", ["ingest", "care", "metrics", "all"])
def test_each_scope_is_answered_as_declared(api, token):
    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        statuses = call_all(api, token, 150, mode)
        refused = {name for name, status in statuses if status == 403}
        assert ("POST /v1/messages" in refused) == (token not in ("ingest", "all"))
        assert ("GET /v1/worklist" in refused) == (token not in ("care", "all"))


def test_without_a_token_nothing_is_answered_but_whether_it_lives(tmp_path):
    store = modelled("sqlite", tmp_path)
    client = client_of(store)
    schema = client.get("/v1/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method in methods:
            answer = client.request(method, path.format(person="ada", number=1), json={})
            expected = 200 if path in ("/healthz", "/readyz") else 401
            assert answer.status_code == expected, (method, path)
    store.close()
