"""Nothing is open by default: every route against every scope."""

import pytest
from tests.support.served import client_of, token_of

from leadline.service.app import make_app
from leadline.store.tokens import SCOPES, list_tokens

OPEN = {"/healthz", "/readyz"}
NEEDS = {
    "/v1/messages": {"ingest"},
    "/v1/messages/retract": {"ingest"},
    "/v1/phq9": {"ingest"},
    "/v1/people/{person}": {"ingest"},
    "/v1/people/{person}/phq9/{number}/retract": {"ingest", "care"},
    "/v1/people/{person}/phq9/{number}/seen": {"care"},
    "/v1/people/{person}/course": {"care"},
    "/v1/people/{person}/estimates": {"care"},
    "/v1/worklist": {"care"},
    "/v1/asks": {"care"},
    "/v1/asks/{number}": {"care"},
    "/metrics": {"metrics"},
}


def routes(store):
    """Method and path of everything that the service says it has."""
    paths = make_app(store).openapi()["paths"]
    return [(method.upper(), path) for path, by_method in paths.items() for method in by_method]


def test_every_route_has_its_rule(sqlite_store):
    found = {path for _, path in routes(sqlite_store)}
    assert found == OPEN | set(NEEDS)


def test_each_scope_opens_its_routes_and_no_other(sqlite_store):
    client = client_of(sqlite_store)
    tokens = {scope: token_of(sqlite_store, scope) for scope in SCOPES}
    for method, path in routes(sqlite_store):
        address = path.replace("{person}", "nobody").replace("{number}", "1")
        bare = client.request(method, address, json={})
        assert (bare.status_code == 401) == (path not in OPEN), path
        for scope, header in tokens.items():
            answer = client.request(method, address, json={}, headers=header)
            opened = path in OPEN or scope in NEEDS[path]
            assert (answer.status_code not in (401, 403)) == opened, (path, scope)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic ll_a_b", "Bearer ll_a_b",
                                    "Bearer ll__", "Bearer " + "x" * 5000])  # fmt: skip
def test_any_other_header_is_refused_and_not_repeated(sqlite_store, header):
    answer = client_of(sqlite_store).get("/v1/worklist", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"] == "no_token"
    assert len(header) < 9 or header[7:] not in answer.text


def test_the_use_of_a_token_is_kept(sqlite_store):
    client = client_of(sqlite_store)
    header = token_of(sqlite_store, "care")
    client.get("/v1/worklist", headers=header)
    (row,) = sqlite_store.database.read(list_tokens)
    assert row["last_used"] is not None
    client.get("/v1/worklist", headers=header)
    assert sqlite_store.database.read(list_tokens)[0]["last_used"] == row["last_used"]


def test_a_cookie_is_no_token(sqlite_store):
    text = token_of(sqlite_store, "care")["Authorization"].removeprefix("Bearer ")
    client = client_of(sqlite_store)
    client.cookies.set("token", text)
    assert client.get("/v1/worklist").status_code == 401
    assert client.get("/v1/worklist", params={"token": text}).status_code == 401
