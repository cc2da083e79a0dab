"""What a care team reads: courses as known then, pages by key, asks; and no one else's people."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.support.served import AGREED, client_of, message, moment, phq9, token_of
from tests.support.stores import START, person_id, put_estimates

from leadline.store import times
from leadline.store.phq9s import retract_phq9

STATEMENT = "An estimate, not a PHQ-9 response, not a diagnosis, not a crisis service."


def with_estimates(client, store, days=6):
    """Messages and estimates of ada."""
    batch = [message(f"m{n}", days=n) for n in range(1, days)]
    client.post("/v1/messages", json={"messages": batch}).raise_for_status()
    rows = [(n, 8.0 + n, 60) for n in range(1, days)]
    put_estimates(store, person_id(store, "ada"), rows, model="model")


def test_a_course_says_what_it_is_and_is_not(client, store):
    with_estimates(client, store)
    client.post("/v1/phq9", json={"phq9s": [phq9("q", 14, days=2)]})
    course = client.get("/v1/people/ada/course?days=1000").json()
    assert course["statement"] == STATEMENT
    assert course["fitted"] is False
    assert course["no_label_seen"] is False
    days = course["days"]
    assert [one["day"] for one in days] == sorted(one["day"] for one in days)
    assert all(0 <= one["lower"] <= one["mean"] <= one["upper"] <= 27 for one in days)
    assert course["now"] == days[-1]
    widths = [one["upper"] - one["lower"] for one in days]
    assert widths[-1] > widths[5]
    assert course["change"]["since"].startswith(moment(2)[:10])
    assert course["standing"] == "silent"
    assert "No message for" in course["standing_words"]


def test_a_course_as_it_was_known_on_a_day(client, store):
    with_estimates(client, store)
    answer = client.post("/v1/phq9", json={"phq9s": [phq9("q", 20, days=3)]})
    number = answer.json()["results"][0]["number"]
    between = datetime.now(UTC)
    store.database.write(lambda c: retract_phq9(c, store.vault, "ada", number, times.now() + 1))
    then = client.get("/v1/people/ada/course", params={"asof": between.isoformat(), "days": 999})
    now = client.get("/v1/people/ada/course?days=999").json()
    assert [one["total"] for one in then.json()["phq9s"]] == [20]
    assert now["phq9s"] == []
    assert then.json()["now"]["mean"] > now["now"]["mean"]
    early = client.get("/v1/people/ada/course", params={"asof": moment(-5)}).json()
    assert early["now"] is None
    assert early["days"] == early["phq9s"] == []


def test_estimates_are_listed_with_their_distributions(client, store):
    with_estimates(client, store)
    found = client.get("/v1/people/ada/estimates").json()
    assert [one["mean"] for one in found["estimates"]] == [9.0, 10.0, 11.0, 12.0, 13.0]
    assert np.sum(found["estimates"][0]["distribution"]) == pytest.approx(1)
    assert found["after"] is None
    rest = client.get("/v1/people/ada/estimates?after=3").json()["estimates"]
    assert [one["mean"] for one in rest] == [12.0, 13.0]
    before = (times.moment(START) - timedelta(days=1)).isoformat()
    none = client.get("/v1/people/ada/estimates", params={"asof": before}).json()
    assert none["estimates"] == []


def test_someone_of_whom_nothing_is_known_has_an_empty_course(client):
    course = client.get("/v1/people/ada/course").json()
    assert course["now"] is None
    assert course["days"] == []
    assert course["standing"] == "unknown"


@pytest.mark.parametrize("path", ["course", "estimates"])
def test_nobody_and_a_time_without_a_zone(client, path):
    assert client.get(f"/v1/people/nobody/{path}").status_code == 404
    answer = client.get(f"/v1/people/ada/{path}?asof=2026-01-01T00:00:00")
    assert answer.status_code == 422
    answer = client.get(f"/v1/people/ada/{path}?asof=canary")
    assert answer.status_code == 422
    assert "canary" not in answer.text


def test_the_worklist_in_pages(client):
    for number in range(53):
        client.put(f"/v1/people/p{number}", json=AGREED).raise_for_status()
    first = client.get("/v1/worklist?lane=everyone").json()
    assert len(first["entries"]) == 50
    second = client.get("/v1/worklist", params={"lane": "everyone", "after": first["after"]}).json()
    assert len(second["entries"]) == 4
    assert second["after"] is None
    names = {one["person"] for one in first["entries"] + second["entries"]}
    assert names == {"ada"} | {f"p{number}" for number in range(53)}
    for wrong in ("canary", "Y2FuYXJ5", "bmFuIHg=", "MSAyIDM="):
        answer = client.get("/v1/worklist", params={"after": wrong})
        assert answer.status_code == 422
        assert wrong not in answer.text
    assert client.get("/v1/worklist?lane=canary").status_code == 422


def test_an_ask_is_made_changed_and_ended(client):
    made = client.post("/v1/asks", json={"person": "ada", "channel": "call"}).json()
    again = client.post("/v1/asks", json={"person": "ada"}).json()
    assert (made["status"], again["status"]) == ("stored", "known")
    assert made["ask"] == again["ask"]
    change = lambda body: client.patch(f"/v1/asks/{made['ask']}", json=body)  # noqa: E731
    assert change({"action": "snoozed"}).status_code == 422
    later = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert change({"action": "snoozed", "until": later}).status_code == 200
    assert change({"action": "declined"}).status_code == 200
    assert change({"action": "asked"}).status_code == 409
    assert client.patch("/v1/asks/999999", json={"action": "asked"}).status_code == 404
    assert client.patch(f"/v1/asks/{2**70}", json={"action": "asked"}).status_code in (404, 422)
    assert client.post("/v1/asks", json={"person": "nobody"}).status_code == 404


def test_a_team_sees_its_own_people_and_nobody_elses(client, store):
    for name, team in (("nora", "north"), ("sam", "south")):
        client.put(f"/v1/people/{name}", json=AGREED | {"team": team}).raise_for_status()
    ask = client.post("/v1/asks", json={"person": "sam"}).json()["ask"]
    north = client_of(store)
    north.headers |= token_of(store, "care", team="north")
    listed = north.get("/v1/worklist?lane=everyone").json()["entries"]
    assert [one["person"] for one in listed] == ["nora"]
    assert north.get("/v1/people/nora/course").status_code == 200
    for path in ("course", "estimates"):
        assert north.get(f"/v1/people/sam/{path}").status_code == 404
        assert north.get(f"/v1/people/ada/{path}").status_code == 404
    assert north.get("/v1/worklist?team=south").status_code == 404
    assert north.get("/v1/worklist?team=north&lane=everyone").json()["entries"] == listed
    assert north.post("/v1/asks", json={"person": "sam"}).status_code == 404
    assert north.patch(f"/v1/asks/{ask}", json={"action": "asked"}).status_code == 404
    everyone = client.get("/v1/worklist?team=south&lane=everyone").json()["entries"]
    assert [one["person"] for one in everyone] == ["sam"]
