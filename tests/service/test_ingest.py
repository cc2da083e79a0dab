"""What comes in over HTTP: each once, and nothing half a batch."""

import threading

import pytest
from tests.support.served import AGREED, client_of, message, moment, phq9, token_of
from tests.support.stores import person_row

from leadline.service.access import ServiceConfig


def statuses(answer):
    assert answer.status_code == 200, answer.text
    return [result["status"] for result in answer.json()["results"]]


def post(client, *messages):
    return client.post("/v1/messages", json={"messages": list(messages)})


def test_messages_are_stored_known_in_conflict_or_refused(client):
    assert statuses(post(client, message("a"), message("b", days=1))) == ["stored", "stored"]
    answer = post(client, message("a"), message("b", "Other words.", days=1),
                  message("c", person="bob"), message("d", days=3))  # fmt: skip
    assert statuses(answer) == ["known", "conflict", "refused", "stored"]
    results = answer.json()["results"]
    assert [one["item"] for one in results] == [0, 1, 2, 3]
    assert [one["number"] for one in results] == [1, None, None, 3]
    assert results[2]["reason"]


def test_a_batch_with_one_wrong_item_stores_nothing(client, store):
    answer = post(client, message("a"), message("b", role="friend"))
    assert answer.status_code == 422
    assert "messages[1].role is none of the words" in answer.json()["message"]
    assert person_row(store)["received"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": "2026-01-01T00:00:00"}, "messages[0].time has no time zone"),
        ({"time": "0001-01-01T00:00:00Z"}, "out of range"),
        ({"text": "x" * 200_001}, "messages[0].text is too long"),
        ({"text": "\ud800"}, "messages[0].text"),
        ({"text": None}, "messages[0].text"),
        ({"id": ""}, "messages[0].id is empty"),
        ({"turn": -1}, "messages[0].turn"),
        ({"turn": 1e300}, "messages[0].turn"),
        ({"canary": "x"}, "messages[0].(a field) is not known"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(client, change, said):
    import json

    body = json.dumps({"messages": [message("a") | change]})
    answer = client.post("/v1/messages", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert said in answer.json()["message"]
    assert "canary" not in answer.text


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_its_bounds(client, count):
    answer = post(client, *(message(f"m{n}") for n in range(count)))
    assert answer.status_code == 422


def test_a_full_batch_is_taken(client):
    found = statuses(post(client, *(message(f"m{n}", days=n / 100) for n in range(1000))))
    assert found == ["stored"] * 1000


def test_a_correction_and_a_retraction(client, store):
    post(client, message("a"), message("b", days=1))
    assert statuses(post(client, message("a2", "Right words.", replaces="a"))) == ["stored"]
    names = [{"source": "app", "id": name, "person": "ada"} for name in ("b", "b", "z")]
    answer = client.post("/v1/messages/retract", json={"messages": names})
    assert statuses(answer) == ["stored", "known", "refused"]
    assert person_row(store)["revision"] == 2


def test_phq9s_are_stored_and_seen_at_once_in_the_course(client):
    items = [2, 2, 1, 1, 1, 1, 0, 0, 0]
    batch = [phq9("q1", days=1), phq9("q2", None, days=9, items=items),
             phq9("q3", 3, days=9, items=items)]  # fmt: skip
    answer = client.post("/v1/phq9", json={"phq9s": batch})
    assert statuses(answer) == ["stored", "stored", "refused"]
    course = client.get("/v1/people/ada/course?days=1000").json()
    assert [one["total"] for one in course["phq9s"]] == [12, 8]
    assert course["now"] is not None


def test_a_phq9_is_retracted_and_is_gone_from_the_course(client):
    answer = client.post("/v1/phq9", json={"phq9s": [phq9("q1")]})
    number = answer.json()["results"][0]["number"]
    for wanted in ("stored", "known"):
        assert client.post(f"/v1/people/ada/phq9/{number}/retract").json()["status"] == wanted
    assert client.get("/v1/people/ada/course").json()["phq9s"] == []
    assert client.post(f"/v1/people/ada/phq9/{number + 1}/retract").status_code == 404
    assert client.post(f"/v1/people/bob/phq9/{number}/retract").status_code == 404


def test_item_9_stands_in_its_lane_until_somebody_looked(client):
    items = [1] * 9
    answer = client.post("/v1/phq9", json={"phq9s": [phq9("q1", None, items=items)]})
    number = answer.json()["results"][0]["number"]
    listed = client.get("/v1/worklist?lane=item9").json()["entries"]
    assert [one["person"] for one in listed] == ["ada"]
    client.post(f"/v1/people/ada/phq9/{number}/seen").raise_for_status()
    assert client.get("/v1/worklist?lane=item9").json()["entries"] == []


def test_a_person_is_put_and_agrees_by_purpose(client):
    put = lambda body, name="bob": client.put(f"/v1/people/{name}", json=body)  # noqa: E731
    assert put({}).json() == {"status": "stored"}
    assert statuses(post(client, message("x", person="bob"))) == ["refused"]
    assert put(AGREED).json() == {"status": "stored"}
    assert put(AGREED).json() == {"status": "known"}
    assert put({"team": "north", "treatment_start": moment()}).json() == {"status": "stored"}
    assert statuses(post(client, message("x", person="bob"))) == ["stored"]
    assert put({"consent": {"estimate": False}}).json() == {"status": "stored"}
    assert statuses(post(client, message("y", person="bob"))) == ["refused"]
    assert put({"consent": {"fun": True}}).status_code == 422


def test_no_more_is_taken_than_can_be_read(sqlite_store):
    client = client_of(sqlite_store, config=ServiceConfig(backlog=2))
    client.headers |= token_of(sqlite_store, "ingest")
    client.put("/v1/people/ada", json=AGREED)
    assert statuses(post(client, *(message(f"m{n}") for n in range(3)))) == ["stored"] * 3
    answer = post(client, message("more"))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_eight_clients_send_the_same_and_each_is_stored_once(client, store):
    batches = [[message(f"{at} {n}", days=at) for n in range(20)] for at in range(4)]
    found = []

    def send(other):
        for batch in batches:
            found.extend(statuses(post(other, *batch)))

    others = [client_of(store) for _ in range(8)]
    for other in others:
        other.headers |= client.headers
        other.get("/v1/worklist")
    threads = [threading.Thread(target=send, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count("stored") == 80
    assert len(found) == 640
    assert person_row(store)["received"] == 80
