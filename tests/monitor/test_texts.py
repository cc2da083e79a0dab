"""Texts from the store or from the app, each the one that was sent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlalchemy import select
from tests.support.stores import add_person, new_store, said, send

from leadline.errors import LeadlineError, Unreachable
from leadline.monitor.texts import TOKEN_VARIABLE, AppTexts, SealedTexts
from leadline.store.people import people_by_id
from leadline.store.schema import message

TEXTS = {"a": "I slept.", "b": "I did not."}


class App(BaseHTTPRequestHandler):
    """An app that answers with its texts."""

    answer = None
    asked: list = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((body, self.headers.get("Authorization")))
        texts = [TEXTS[one["id"]] for one in body["messages"]]
        content = self.answer if self.answer is not None else json.dumps({"texts": texts})
        self.send_response(302 if content == "elsewhere" else 200)
        if content == "elsewhere":
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_words):
        pass


@pytest.fixture
def app():
    """The address of an app on this machine."""
    server = HTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    App.answer, App.asked = None, []
    yield f"http://127.0.0.1:{server.server_port}/texts"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def elsewhere(tmp_path):
    """A store whose app keeps the texts, with two messages."""
    store = new_store("sqlite", tmp_path, keep_texts=False)
    add_person(store)
    send(store, *(said(name, text, hours=n) for n, (name, text) in enumerate(TEXTS.items())))
    yield store
    store.close()


def rows_of(store):
    ada = add_person(store)

    def work(connection):
        rows = list(connection.execute(select(message).order_by(message.c.seq)).mappings())
        return people_by_id(connection, store.vault, [ada])[ada], rows

    return store.database.read(work)


def test_sealed_texts_are_opened(tmp_path):
    store = new_store("sqlite", tmp_path)
    add_person(store)
    send(store, *(said(name, text) for name, text in TEXTS.items()))
    assert SealedTexts().read(*rows_of(store)) == list(TEXTS.values())
    store.close()


def test_without_texts_the_store_says_what_to_give(elsewhere):
    with pytest.raises(LeadlineError, match="history-url"):
        SealedTexts().read(*rows_of(elsewhere))


def test_the_app_is_asked_by_its_own_names(elsewhere, app, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "abc")
    texts = AppTexts(app)
    assert texts.read(*rows_of(elsewhere)) == list(TEXTS.values())
    ((body, header),) = App.asked
    assert body == {"person": "ada", "messages": [{"source": "app", "id": "a"},
                                                  {"source": "app", "id": "b"}]}  # fmt: skip
    assert header == "Bearer abc"
    assert texts.read(rows_of(elsewhere)[0], []) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (json.dumps({"texts": ["I slept.", "canary"]}), "another text"),
        (json.dumps({"texts": ["I slept."]}), "another number"),
        (json.dumps({"texts": ["I slept.", 3]}), "another number"),
        (json.dumps({"texts": {"canary": 1}}), "another number"),
        ("canary", "did not answer with texts"),
        ("[" * 100_000, "did not answer with texts"),
    ],
)
def test_an_answer_that_is_wrong_is_refused_and_not_quoted(elsewhere, app, answer, problem):
    App.answer = answer
    with pytest.raises(LeadlineError, match=problem) as refused:
        AppTexts(app).read(*rows_of(elsewhere))
    assert "canary" not in str(refused.value)


def test_an_app_that_is_away_is_asked_again_later(elsewhere, app):
    with pytest.raises(Unreachable):
        AppTexts("http://127.0.0.1:1/").read(*rows_of(elsewhere))
    App.answer = "elsewhere"
    with pytest.raises(Unreachable):
        AppTexts(app).read(*rows_of(elsewhere))


@pytest.mark.parametrize("url", ["http://app.example/texts", "ftp://localhost/x", "nothing"])
def test_texts_do_not_travel_open(url):
    with pytest.raises(LeadlineError, match="https"):
        AppTexts(url)
