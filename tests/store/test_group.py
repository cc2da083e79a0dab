"""Works of many threads in one transaction: each has its outcome, and none before the commit."""

import threading

import pytest
from sqlalchemy import func, insert, select
from tests.support.stores import new_store

from leadline.errors import Unreachable
from leadline.store.database import Database
from leadline.store.group import Group
from leadline.store.schema import setting


class Stop(BaseException):
    """The thread is told to end."""


def put(name):
    return lambda connection: connection.execute(insert(setting).values(name=name, value="x"))


def names(store):
    query = select(setting.c.name).where(setting.c.name.like("n%"))
    return set(store.database.read(lambda c: list(c.execute(query).scalars())))


def together(store, works, *, first=None):
    """Begin a write, put the others down while it runs, let it go on; outcomes, and commits."""
    begun, go = threading.Event(), threading.Event()
    outcomes = {}

    def slow(connection):
        put("n-first")(connection)
        begun.set()
        go.wait(10)
        if first is not None:
            raise first

    def do(name, work):
        try:
            outcomes[name] = store.database.write(work)
        except BaseException as error:  # noqa: BLE001  looked at by the test
            outcomes[name] = error

    threads = [threading.Thread(target=do, args=("first", slow))]
    threads[0].start()
    begun.wait(10)
    for name, work in works.items():
        threads.append(threading.Thread(target=do, args=(name, work)))
        threads[-1].start()
    while len(store.database._group._waiting) <= len(works):
        pass
    assert names(store) == set()
    go.set()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.fixture
def counted(sqlite_store, monkeypatch):
    """A store, and how often a transaction began."""
    monkeypatch.setattr("leadline.store.group.GROUP_SECONDS", 60.0)
    begun = []
    begin = sqlite_store.database._group._begin

    def counting():
        begun.append(1)
        return begin()

    sqlite_store.database._group._begin = counting
    return sqlite_store, begun


def test_what_waits_is_committed_with_what_runs(counted):
    store, begun = counted
    together(store, {f"n{n}": put(f"n{n}") for n in range(6)})
    assert names(store) == {"n-first", *(f"n{n}" for n in range(6))}
    assert len(begun) == 1


def test_a_work_that_fails_takes_back_its_own_and_nothing_else(counted):
    store, begun = counted

    def broken(connection):
        put("n-broken")(connection)
        raise KeyError("not told")

    outcomes = together(store, {"a": put("n-a"), "broken": broken, "b": put("n-b")})
    assert isinstance(outcomes["broken"], KeyError)
    assert names(store) == {"n-first", "n-a", "n-b"}
    assert len(begun) == 1


@pytest.mark.parametrize("end", [Stop(), KeyError("not told")])
def test_the_first_that_fails_or_ends_leaves_the_others_to_be_done(counted, end):
    store, begun = counted
    outcomes = together(store, {"a": put("n-a")}, first=end)
    assert outcomes["first"] is end
    assert names(store) == {"n-a"}
    assert len(begun) == 2
    assert store.database._group._waiting == []


def test_a_commit_that_fails_is_told_to_everybody(counted):
    store, _ = counted
    begin = store.database._group._begin

    class Failing:
        def __init__(self):
            self.inner = begin()

        def __enter__(self):
            return self.inner.__enter__()

        def __exit__(self, *error):
            self.inner.__exit__(Unreachable, Unreachable("Full.", remedy="Make room."), None)
            raise Unreachable("Full.", remedy="Make room.")

    store.database._group._begin = Failing
    outcomes = together(store, {"a": put("n-a"), "b": put("n-b")})
    assert all(isinstance(outcome, Unreachable) for outcome in outcomes.values())
    assert len(outcomes) == 3
    assert names(store) == set()


def test_postgresql_commits_by_itself(tmp_path):
    assert Database("postgresql://nobody@nowhere/x")._group is None
    store = new_store("sqlite", tmp_path)
    assert isinstance(store.database._group, Group)
    count = store.database.read(lambda c: c.execute(select(func.count(setting.c.name))).scalar())
    assert count == 3
    store.close()
