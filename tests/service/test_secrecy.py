"""A word that was sent stands nowhere in clear: no log, no metric, no error, no byte of the store.

Each field of each request carries a word of its own, so that a leak names its field. The answers to
a care team may hold the names of people; nothing else may.
"""

import json
import logging
import subprocess

import pytest
from tests.support.monitored import live_store, scorer_of, work_off
from tests.support.postgres import BINARIES, server
from tests.support.served import client_of, message, phq9, token_of

from leadline.monitor.nightly import night_of, run_night
from leadline.monitor.start import examine
from leadline.store import times
from leadline.store.people import forget_person
from leadline.store.schema import METADATA
from leadline.store.vault import KeyConfig

WORD = "canary"


def stored_bytes(store):
    """Everything that the database holds, as it lies there and as it is read."""
    texts = []
    if store.database.file:
        for suffix in ("", "-wal", "-shm"):
            path = store.database.file.with_name(store.database.file.name + suffix)
            texts.append(path.read_bytes() if path.exists() else b"")
    else:
        dump = [BINARIES[-1].parent / "pg_dump", "-h", server(), "-U", "leadline",
                str(store.database.url.database)]  # fmt: skip
        texts.append(subprocess.run(dump, check=True, capture_output=True).stdout)
        assert b"sealed_text" in texts[-1]
    for table in METADATA.sorted_tables:
        for row in store.database.read(lambda c, t=table: c.execute(t.select()).all()):
            texts += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    return texts


def sent(n, **fields):
    """A message each of whose fields holds a word of its own."""
    return message(f"{WORD}id{n}", f"I {WORD}text{n} cannot sleep at all these days.",
                   person=f"{WORD}person", days=n, **{"source": f"{WORD}source",
                   "conversation": f"{WORD}conversation{n}"} | fields)  # fmt: skip


def wrong_requests():
    """Requests that are refused, with words wherever one can stand."""
    whole = sent(90)
    for name in whole:
        yield "POST", "/v1/messages", {"messages": [whole | {name: {f"{WORD}key": f"{WORD}value"}}]}
        yield "POST", "/v1/messages", {"messages": [{k: v for k, v in whole.items() if k != name}]}
    yield "POST", "/v1/messages", {"messages": [whole | {f"{WORD}unknown": 1}]}
    yield "POST", "/v1/messages", {f"{WORD}unknown": [whole]}
    yield "POST", "/v1/phq9", {"phq9s": [phq9(f"{WORD}q", 99, person=f"{WORD}person")]}
    yield "PUT", f"/v1/people/{WORD}path", {"consent": {f"{WORD}purpose": True}}
    yield "GET", f"/v1/people/{WORD}nobody/course?asof={WORD}query", None
    yield "GET", f"/v1/worklist?lane={WORD}lane&after={WORD}after", None
    yield "POST", "/v1/asks", {"person": f"{WORD}stranger", "channel": f"{WORD}channel"}
    yield "PATCH", f"/v1/asks/{WORD}", {"action": f"{WORD}action"}
    yield WORD.upper(), f"/{WORD}anywhere", None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_word_that_was_sent_stands_anywhere_in_clear(kind, tmp_path, monitor_run, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    store = live_store(kind, tmp_path, monitor_run)
    client = client_of(store)
    client.headers |= token_of(store, "ingest", "care", "metrics")
    client.headers |= {"User-Agent": f"{WORD}agent", "X-Request-Id": f"{WORD}request",
                       "Cookie": f"{WORD}=cookie"}  # fmt: skip
    body = {"team": f"{WORD}team", "consent": {"estimate": True}, "version": f"{WORD}version",
            "evidence": f"{WORD}evidence"}  # fmt: skip
    assert client.put(f"/v1/people/{WORD}person", json=body).status_code == 200

    answers = []
    batch = {"messages": [sent(n) for n in range(6)]}
    answers.append(client.post("/v1/messages", json=batch))
    corrected = sent(7, replaces=f"{WORD}id3")
    answers.append(client.post("/v1/messages", json={"messages": [corrected]}))
    gone = {"source": f"{WORD}source", "id": f"{WORD}id4", "person": f"{WORD}person"}
    answers.append(client.post("/v1/messages/retract", json={"messages": [gone]}))
    answer = phq9(f"{WORD}phq9", None, person=f"{WORD}person", source=f"{WORD}clinic",
                  items=[1] * 8 + [2])  # fmt: skip
    answers.append(client.post("/v1/phq9", json={"phq9s": [answer]}))
    assert [one.status_code for one in answers] == [200] * 4
    for method, path, wrong in wrong_requests():
        answers.append(client.request(method, path, json=wrong))
        assert answers[-1].status_code in (404, 405, 422), (method, path)
    answers.append(client.post("/v1/messages", content=f'{{"messages": [{WORD}'))
    answers.append(client.post("/v1/messages", content=WORD * 2_000_000))
    answers.append(client.get("/metrics"))
    for one in answers:
        assert WORD not in one.text
        assert WORD not in str(one.headers)

    scorer = scorer_of(store, monitor_run, tmp_path)
    work_off(scorer)
    scorer.close()
    now = times.now()
    steps = run_night(store, night_of(now), now)
    address = str(store.database.file or store.database.url.render_as_string(hide_password=False))
    facts = examine(address, KeyConfig(key_file=tmp_path / "key"))
    page = client.get("/v1/worklist?lane=everyone").json()["entries"]
    assert page[0]["person"] == f"{WORD}person"  # whoever may see it does
    assert page[0]["mean"] is not None

    assert WORD not in str((steps, facts))
    assert not [text for text in stored_bytes(store) if WORD.encode() in text]
    assert not [record for record in caplog.records if WORD in record.getMessage().lower()
                and not record.name.startswith(("httpx", "httpcore"))]  # fmt: skip
    store.database.write(lambda c: forget_person(c, store.vault, f"{WORD}person", times.now()))
    assert not [text for text in stored_bytes(store) if WORD.encode() in text]
    store.close()
    assert WORD not in "".join(capfd.readouterr())


def properties(schema, part):
    """The fields of a body, those of the items of a batch among them, each by its path."""
    if "$ref" in part:
        part = schema["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
    for name, inner in part.get("properties", {}).items():
        yield (name,)
        if "items" in inner and "$ref" in inner["items"]:
            yield from ((name, 0, *path) for path in properties(schema, inner["items"]))


WHOLE = {
    "/v1/messages": {"messages": [message("m", person="ada")]},
    "/v1/messages/retract": {"messages": [{"source": "app", "id": "m", "person": "ada"}]},
    "/v1/phq9": {"phq9s": [phq9("q", person="ada")]},
    "/v1/people/{person}": {"consent": {"estimate": True}},
    "/v1/asks": {"person": "ada"},
    "/v1/asks/{number}": {"action": "asked"},
}
WRONG = (f"{WORD}string" * 60, {f"{WORD}key": f"{WORD}value"}, [f"{WORD}item"], f"{WORD}\x00\ud800")


def changed(body, path, value):
    """The body with another value at a path; without the field where the value is None."""
    body = json.loads(json.dumps(body))
    part = body
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    if value is None:
        part.pop(path[-1])
    return body


def every_request(schema):
    """Each operation with a word at each place where one can stand, one at a time."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            plain = path.format(person="ada", number=1)
            whole = WHOLE.get(path)
            for parameter in operation.get("parameters", []):
                name = parameter["name"]
                if parameter["in"] == "path":
                    body = whole if method != "put" else []  # it would make a person of the name
                    yield method, path.format(**{"person": "ada", "number": 1, name: WORD}), body
                else:
                    yield method, f"{plain}?{name}={WORD}", whole
            yield method, f"{plain}?{WORD}={WORD}", whole
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                for place in [*properties(schema, body), (f"{WORD}unknown",)]:
                    for value in (*WRONG, None):
                        yield method, plain, changed(whole, place, value)


def test_a_word_at_any_place_of_any_request_is_in_no_answer_and_no_log(sqlite_store, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    client = client_of(sqlite_store)
    client.headers |= token_of(sqlite_store, "ingest", "care", "metrics")
    client.put("/v1/people/ada", json={"consent": {"estimate": True}})
    client.post("/v1/messages", json=WHOLE["/v1/messages"])
    requests = list(every_request(client.get("/v1/openapi.json").json()))
    assert len(requests) > 100
    strange = ({"Authorization": f"Bearer ll_{WORD}_{WORD}"}, {"Authorization": WORD},
               {"Content-Type": f"text/{WORD}"}, {"Accept": WORD}, {"Expect": WORD})  # fmt: skip
    answers = [
        client.request(method, path, content=None if body is None else json.dumps(body),
                       headers={"Content-Type": "application/json"})
        for method, path, body in requests
    ]  # fmt: skip
    answers += [client.post("/v1/messages", json=WHOLE["/v1/messages"], headers=h) for h in strange]
    answers.append(client.get("/metrics"))
    for one in answers:
        assert one.status_code < 500
        assert WORD not in one.text.lower()
        assert WORD not in str(one.headers).lower()
    assert not [record for record in caplog.records if WORD in record.getMessage().lower()
                and not record.name.startswith(("httpx", "httpcore"))]  # fmt: skip
    assert WORD not in "".join(capfd.readouterr())


def test_a_scorer_that_fails_says_no_word(tmp_path, monitor_run, caplog):
    caplog.set_level(logging.DEBUG)
    store = live_store("sqlite", tmp_path, monitor_run)
    client = client_of(store)
    client.headers |= token_of(store, "ingest")
    client.put(f"/v1/people/{WORD}person", json={"consent": {"estimate": True}})
    client.post("/v1/messages", json={"messages": [sent(1)]})
    scorer = scorer_of(store, monitor_run, tmp_path)

    class Failing:
        def read(self, _stored, _rows):
            raise ValueError(f"{WORD}text")

    scorer.texts = Failing()
    work_off(scorer)
    scorer.close()
    assert not [text for text in stored_bytes(store) if WORD.encode() in text]
    assert "cannot be estimated" in caplog.text
    assert not [record for record in caplog.records if WORD in record.getMessage().lower()
                and not record.name.startswith(("httpx", "httpcore"))]  # fmt: skip
    store.close()
