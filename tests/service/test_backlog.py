"""What waits is counted now and then; what came in here since is added at once."""

from tests.support.stores import add_person, said, send

from leadline.service import backlog
from leadline.service.backlog import Backlog


def test_what_others_store_is_seen_after_a_while_and_what_is_stored_here_at_once(
    sqlite_store, monkeypatch
):
    add_person(sqlite_store)
    send(sqlite_store, said("a"))
    waiting = Backlog(sqlite_store)
    assert waiting.messages() == 1
    send(sqlite_store, said("b", hours=1))
    assert waiting.messages() == 1
    waiting.add(1)
    assert waiting.messages() == 2
    send(sqlite_store, said("c", hours=2))
    monkeypatch.setattr(backlog, "COUNTED_EVERY", 0.0)
    assert waiting.messages() == 3
