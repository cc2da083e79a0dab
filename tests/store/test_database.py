"""Writes are whole, committed before they return, and done again when another came between."""

import sqlite3
import stat
import threading

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError
from tests.support import postgres
from tests.support.stores import START, add_person, new_store

from leadline.errors import LeadlineError, Unreachable
from leadline.store import database as database_module
from leadline.store.database import Database, private_file
from leadline.store.schema import person, setting


def names(store):
    return set(store.database.read(lambda c: c.execute(select(setting.c.name)).scalars()))


def test_a_write_that_fails_leaves_nothing(store):
    before = names(store)

    def work(connection):
        connection.execute(insert(setting).values(name="half", value="x"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.database.write(work)
    assert names(store) == before


def test_a_write_is_there_for_another_connection_when_it_returns(store):
    store.database.write(lambda c: c.execute(insert(setting).values(name="new", value="x")))
    other = Database(str(store.database.url.render_as_string(hide_password=False)))
    assert "new" in set(other.read(lambda c: c.execute(select(setting.c.name)).scalars()))
    other.close()


def test_work_runs_again_when_a_key_was_taken_meanwhile(store):
    runs = []

    def work(connection):
        runs.append(1)
        if len(runs) < 3:
            connection.execute(insert(setting).values(name="texts", value="taken"))
        return "done"

    assert store.database.write(work) == "done"
    assert len(runs) == 3


def test_a_key_that_stays_taken_ends_as_an_error(store, monkeypatch):
    monkeypatch.setattr("leadline.store.database.time.sleep", lambda seconds: None)
    with pytest.raises(IntegrityError):
        store.database.write(lambda c: c.execute(insert(setting).values(name="texts", value="x")))


def test_writers_that_read_first_lose_nothing(store):
    """A counter that each writer reads, then writes: SQLite's deferred lock would refuse some."""
    store.database.write(lambda c: c.execute(insert(setting).values(name="n", value="0")))
    mine = setting.c.name == "n"

    def one(connection):
        query = select(setting.c.value).where(mine).with_for_update()
        value = int(connection.execute(query).scalar_one())
        connection.execute(setting.update().where(mine).values(value=str(value + 1)))

    def client():
        for _ in range(10):
            store.database.write(one)

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = store.database.read(lambda c: c.execute(select(setting.c.value).where(mine)).scalar())
    assert total == "60"


def test_each_commit_of_sqlite_is_on_the_disk(sqlite_store):
    pragmas = ("synchronous", "journal_mode", "foreign_keys", "secure_delete")
    found = sqlite_store.database.read(
        lambda c: [c.execute(text(f"PRAGMA {name}")).scalar() for name in pragmas]
    )
    assert found == [2, "wal", 1, 1]


def test_the_file_of_a_store_is_its_owners_alone(sqlite_store):
    file = sqlite_store.database.file
    names_of = [path for path in file.parent.iterdir() if path.name.startswith(file.name)]
    assert len(names_of) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in names_of} == {0o600}


def test_a_private_file_stays_as_it_is_when_it_is_there(tmp_path):
    path = tmp_path / "x"
    path.write_text("mine")
    private_file(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("address", ["mysql://a@b/c", "postgresql://", "nonsense://x", "sqlite://"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(LeadlineError, match="store"):
        Database(address)


def test_an_error_names_the_place_without_its_password():
    database = Database("postgresql://leadline:secret@localhost:1/none")
    with pytest.raises(LeadlineError) as refused:
        database.read(lambda connection: None)
    assert "secret" not in str(refused.value)
    assert "localhost" in str(refused.value)


def test_no_parameter_stands_in_an_error_of_the_database(store, monkeypatch):
    monkeypatch.setattr("leadline.store.database.time.sleep", lambda seconds: None)
    long_word = "canary" * 3
    with pytest.raises(IntegrityError) as refused:
        store.database.write(
            lambda c: c.execute(insert(setting).values(name="texts", value=long_word))
        )
    assert long_word not in str(refused.value)


def test_a_database_without_tables_says_what_to_run(tmp_path):
    sqlite3.connect(tmp_path / "empty").close()
    database = Database(str(tmp_path / "empty"))
    with pytest.raises(LeadlineError, match="monitor init"):
        database.read(lambda c: c.execute(select(setting)).all())
    assert START


@pytest.mark.parametrize("idle", [0.0, 1.0])
def test_a_connection_whose_server_went_while_it_rested_is_not_used(tmp_path, monkeypatch, idle):
    store = new_store("postgresql", tmp_path)
    monkeypatch.setattr(database_module, "IDLE_SECONDS", idle)
    whoami = text("SELECT pg_backend_pid()")
    number = store.database.read(lambda c: c.execute(whoami).scalar())
    postgres.sql(f"SELECT pg_terminate_backend({number})")
    if idle:  # it was used a moment ago: nobody asks, and the sender tries again
        with pytest.raises(Unreachable):
            store.database.read(lambda c: c.execute(whoami).scalar())
    assert store.database.read(lambda c: c.execute(whoami).scalar()) != number
    store.close()


def test_what_is_read_is_one_view_while_others_write(store):
    """A second question of one reading does not see what came in between."""
    add_person(store, "ada")
    count = select(func.count()).select_from(person)

    def twice(connection):
        first = connection.execute(count).scalar_one()
        writer = threading.Thread(target=add_person, args=(store, "bob"))
        writer.start()
        writer.join()
        return first, connection.execute(count).scalar_one()

    assert store.database.read(twice) == (1, 1)
    assert store.database.read(lambda c: c.execute(count).scalar_one()) == 2
