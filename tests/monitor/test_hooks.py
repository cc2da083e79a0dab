"""The hook of item 9: every real answer calls once, is called again until it is taken, and no
estimate ever calls.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from sqlalchemy import select
from tests.support.stores import START, add_person, answered, put_estimates, send_phq9s

from leadline.errors import LeadlineError
from leadline.monitor.hooks import (
    FIRST_WAIT,
    LEASE,
    LONGEST_WAIT,
    Hook,
    HookConfig,
    call_next,
    call_until,
)
from leadline.monitor.now import refresh_people
from leadline.store import times
from leadline.store.models import live_model
from leadline.store.phq9s import retract_phq9
from leadline.store.schema import hook_call
from leadline.store.times import DAY

NOW = START + 50 * DAY
SEVERE = (3,) * 9


class Calls:
    """A hook that keeps what it was called with."""

    def __init__(self, *answers):
        self.answers, self.calls = iter(answers), []

    def call(self, content):
        self.calls.append(content)
        return next(self.answers, True)


def row(store):
    return store.database.read(lambda c: c.execute(select(hook_call)).mappings().one())


def answer(store, name="q1", **how):
    return send_phq9s(store, answered(name, None, items=SEVERE, **how), at=NOW)[0].number


def test_a_real_answer_calls_once(live):
    add_person(live)
    number = answer(live)
    hook = Calls()
    assert call_next(live, hook, NOW)
    assert not call_next(live, hook, NOW + DAY)
    (content,) = hook.calls
    assert content == {"key": f"item9-{number}", "phq9": number, "person": "ada", "item_9": 3,
                       "time": times.moment(START).isoformat()}  # fmt: skip
    assert row(live)["delivered_at"] is not None


def test_a_call_that_is_not_taken_is_made_again_later_and_later(live):
    add_person(live)
    answer(live)
    hook = Calls(False, False)
    before = times.now()
    assert call_next(live, hook, NOW)
    first = row(live)["due_at"] - before
    assert FIRST_WAIT <= first < 2 * FIRST_WAIT
    assert not call_next(live, hook, NOW)
    before = times.now()
    assert call_next(live, hook, before + FIRST_WAIT + times.SECOND)
    assert row(live)["due_at"] - before >= 2 * FIRST_WAIT
    assert call_next(live, hook, before + LONGEST_WAIT)
    assert [call["key"] for call in hook.calls] == [hook.calls[0]["key"]] * 3
    assert row(live)["attempts"] == 3


def test_a_caller_that_died_is_followed_by_another_when_its_lease_ends(live):
    add_person(live)
    answer(live)

    class Dies(Calls):
        def call(self, content):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_next(live, Dies(), NOW)
    hook = Calls()
    assert not call_next(live, hook, NOW + LEASE)
    assert call_next(live, hook, NOW + LEASE + 1)
    assert len(hook.calls) == 1


def test_what_was_taken_back_calls_nobody(live):
    add_person(live)
    number = answer(live)
    live.database.write(lambda c: retract_phq9(c, live.vault, "ada", number, NOW))
    hook = Calls()
    assert call_next(live, hook, NOW)
    assert hook.calls == []
    assert not call_next(live, hook, NOW + DAY)


def test_no_estimate_calls_or_silences(live):
    ada = add_person(live)
    model = live.database.read(live_model)["model_id"]
    put_estimates(live, ada, [(n, 27.0, 60) for n in range(1, 9)], model=model)
    refresh_people(live, [ada], NOW)
    hook = Calls()
    assert not call_next(live, hook, NOW)
    put_estimates(live, ada, [(n, 0.0, 60) for n in range(9, 20)], model=model)
    answer(live)
    refresh_people(live, [ada], NOW)
    assert call_next(live, hook, NOW)
    assert len(hook.calls) == 1


def test_two_callers_make_each_call_once(live):
    for number in range(8):
        add_person(live, f"p{number}")
        answer(live, f"q{number}", person=f"p{number}")
    hook = Calls()

    def work():
        while call_next(live, hook, NOW):
            pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(call["person"] for call in hook.calls) == sorted(f"p{n}" for n in range(8))


def test_a_command_reads_the_call_and_says_by_its_end_whether_it_took_it(tmp_path):
    out = tmp_path / "call.json"
    script = f"import sys, pathlib; pathlib.Path({str(out)!r}).write_bytes(sys.stdin.buffer.read())"
    hook = Hook.of(HookConfig(item9_command=f'{sys.executable} -c "{script}"'))
    assert hook.call({"key": "k", "person": "ada"})
    assert json.loads(out.read_text()) == {"key": "k", "person": "ada"}
    assert not Hook(command=("false",)).call({"key": "k"})
    assert not Hook(command=("no-such-command-here",)).call({"key": "k"})


def test_an_address_gets_the_call_with_its_key():
    class Receiver(BaseHTTPRequestHandler):
        answers = iter([200, 500, 302])
        calls: list = []  # noqa: RUF012

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.calls.append((body, self.headers["Idempotency-Key"]))
            self.send_response(next(self.answers))
            self.end_headers()

        def log_message(self, *_words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hook = Hook.of(HookConfig(item9_url=f"http://127.0.0.1:{server.server_port}/x"))
    assert [hook.call({"key": "k"}) for _ in range(3)] == [True, False, False]
    server.shutdown()
    thread.join()
    server.server_close()
    assert Receiver.calls == [({"key": "k"}, "k")] * 3
    assert not hook.call({"key": "k"})


def test_calls_are_made_until_it_is_told_to_stop(sqlite_live):
    add_person(sqlite_live)
    send_phq9s(sqlite_live, answered("q1", None, items=SEVERE), at=times.now())
    stop = threading.Event()

    class Once(Calls):
        def call(self, content):
            stop.set()
            return super().call(content)

    hook = Once()
    call_until(sqlite_live, hook, stop)
    assert len(hook.calls) == 1


def test_hooks_that_are_none_are_refused():
    assert Hook.of(HookConfig()) is None
    with pytest.raises(LeadlineError, match="exclude"):
        HookConfig("a", "b")
    with pytest.raises(LeadlineError, match="words"):
        Hook.of(HookConfig(item9_command="'"))
    with pytest.raises(LeadlineError, match="not safe"):
        Hook.of(HookConfig(item9_url="http://example.org/"))
