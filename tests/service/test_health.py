"""Alive, ready, counted."""

from tests.support.served import AGREED, client_of, message, token_of
from tests.support.stores import new_store

from leadline.service.access import ServiceConfig


def test_alive_says_nothing_else(sqlite_store):
    assert client_of(sqlite_store).get("/healthz").json() == {"status": "ok", "reasons": []}


def test_ready_needs_a_store_a_model_and_a_scorer_that_follows(sqlite_store, tmp_path):
    client = client_of(sqlite_store, config=ServiceConfig(lag_seconds=1e-6))
    assert client.get("/readyz").status_code == 200
    header = token_of(sqlite_store, "ingest")
    client.put("/v1/people/ada", json=AGREED, headers=header)
    client.post("/v1/messages", json={"messages": [message("a")]}, headers=header)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["Messages wait for too long to be read."]
    bare = new_store("sqlite", tmp_path / "bare")
    assert client_of(bare).get("/readyz").json()["reasons"] == ["The store has no model."]
    bare.close()


def test_a_store_that_is_away_is_said(sqlite_store):
    client = client_of(sqlite_store)
    sqlite_store.close()
    sqlite_store.database.file.unlink()
    sqlite_store.database.file.mkdir()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["The store does not answer."]
    care = client.get("/v1/worklist", headers={"Authorization": "Bearer ll_a_b"})
    assert care.status_code == 503
    assert care.json()["error"] == "unavailable"
    assert "Retry-After" in care.headers


def test_figures_are_counted_by_route_and_status(client):
    client.post("/v1/messages", json={"messages": [message("a"), message("a")]})
    client.get("/v1/people/canary/course")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    text = answer.text
    assert text.endswith("# EOF\n")
    for line in (
        'leadline_items_total{kind="message",status="known"} 1',
        'route="/v1/people/{person}/course",status="404"} 1',
        "leadline_messages_unread 1",
        'leadline_request_seconds_bucket{le="+Inf"} 3',
    ):
        assert line in text
    assert "canary" not in text
