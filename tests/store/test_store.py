"""A store is made once, opened with its own key, and brought up to date with what is in it."""

import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from sqlalchemy import delete, select
from tests.support.stores import DATABASES, add_person, address, said, send, statuses

from leadline.artefact import write_manifest
from leadline.errors import LeadlineError
from leadline.store import schema
from leadline.store import store as store_module
from leadline.store.people import external_id, find_people, people_by_id, team_id
from leadline.store.store import KEY_ID, LOOKUP, TEXTS, change_key, make_store, open_store
from leadline.store.vault import KeyConfig, new_key_file, read_key


@pytest.mark.parametrize("kind", DATABASES)
def test_a_store_is_made_and_opened_again(kind, tmp_path):
    place, keys = address(kind, tmp_path), KeyConfig(key_file=tmp_path / "key")
    first = make_store(place, keys, keep_texts=False)
    ada = add_person(first)
    first.close()
    again = open_store(place, keys)
    assert not again.keeps_texts
    found = again.database.read(lambda c: people_by_id(c, again.vault, [ada]))
    assert external_id(found[ada]) == "ada"
    third = make_store(place, keys)
    assert not third.keeps_texts
    for store in (again, third):
        store.close()


def test_a_new_store_gets_a_key_of_its_owners_alone_beside_it(tmp_path):
    store = make_store(str(tmp_path / "deep" / "s.sqlite"), KeyConfig())
    store.close()
    key = tmp_path / "deep" / "s.sqlite.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
    open_store(str(tmp_path / "deep" / "s.sqlite"), KeyConfig()).close()


def test_another_key_is_refused(sqlite_store, tmp_path):
    other = tmp_path / "other"
    new_key_file(other)
    with pytest.raises(LeadlineError, match="not the one"):
        open_store(str(sqlite_store.database.file), KeyConfig(key_file=other))


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough " * 40])
def test_what_is_no_store_is_not_opened(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(LeadlineError, match="no store"):
        open_store(str(path), KeyConfig())
    with pytest.raises(LeadlineError):
        open_store(str(tmp_path / "nothing"), KeyConfig())
    assert not (tmp_path / "nothing").exists()
    assert path.read_bytes() == content


def test_a_store_is_not_made_over_something_else(tmp_path):
    import sqlite3

    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LeadlineError, match="no store"):
        make_store(str(path), KeyConfig(key_file=tmp_path / "key"))
    assert path.read_bytes() == before


def test_the_key_of_a_store_is_changed(store, tmp_path):
    add_person(store, team="north")
    send(store, said("a"))
    new = tmp_path / "new"
    new_key_file(new)
    assert change_key(store, read_key(KeyConfig(key_file=new))) == 1
    place = store.database.url.render_as_string(hide_password=False)
    with pytest.raises(LeadlineError, match="not the one"):
        open_store(place, KeyConfig(key_file=tmp_path / "key"))
    opened = open_store(place, KeyConfig(key_file=new))
    assert statuses(send(opened, said("a"), said("b"))) == ["known", "stored"]
    assert opened.database.read(lambda c: team_id(c, opened.vault, "north")) is not None
    found = opened.database.read(lambda c: find_people(c, opened.vault, ["ada"]))
    assert external_id(found["ada"]) == "ada"
    opened.close()


def test_a_database_that_a_kill_left_without_tables_becomes_the_store(tmp_path):
    file = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    assert file.stat().st_size
    make_store(str(file), KeyConfig()).close()
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(LeadlineError, match="no store"):
        make_store(str(tmp_path / "other.sqlite"), KeyConfig())


@pytest.mark.parametrize("lost", [LOOKUP, KEY_ID, TEXTS, "%"])
@pytest.mark.parametrize("kind", DATABASES)
def test_a_store_that_lost_its_keys_gets_no_new_ones(kind, lost, tmp_path):
    place, keys = address(kind, tmp_path), KeyConfig(key_file=tmp_path / "key")
    store = make_store(place, keys)
    add_person(store)
    gone = delete(schema.setting).where(schema.setting.c.name.like(lost))
    store.database.write(lambda connection: connection.execute(gone))
    rows = store.database.read(lambda c: c.execute(select(schema.setting)).all())
    for work in (make_store, open_store):
        with pytest.raises(LeadlineError, match="keys is gone") as refused:
            work(place, keys)
        assert "from a copy" in str(refused.value)
    assert store.database.read(lambda c: c.execute(select(schema.setting)).all()) == rows
    store.close()


def test_a_lost_key_file_is_not_made_anew(tmp_path):
    place = str(tmp_path / "s.sqlite")
    make_store(place, KeyConfig()).close()
    (tmp_path / "s.sqlite.key").unlink()
    with pytest.raises(LeadlineError, match="key of the store is not here"):
        make_store(place, KeyConfig())
    assert not (tmp_path / "s.sqlite.key").exists()


@pytest.mark.parametrize("name", ["s.sqlite", "deep/s.sqlite"])
def test_no_store_and_no_key_is_made_in_an_artefact(name, tmp_path):
    artefact = tmp_path / "run"
    artefact.mkdir()
    write_manifest(artefact, kind="run", command="x", settings={}, inputs={})
    with pytest.raises(LeadlineError, match="lies in an artefact"):
        make_store(str(artefact / name), KeyConfig(key_file=tmp_path / "key"))
    with pytest.raises(LeadlineError, match="lies in an artefact"):
        make_store(str(tmp_path / "s.sqlite"), KeyConfig(key_file=artefact / "key"))
    assert {path.name for path in artefact.iterdir()} == {"manifest.json"}


@pytest.mark.parametrize("kind", DATABASES)
def test_a_store_that_is_made_twice_at_once_is_one_store(kind, tmp_path):
    place, keys = address(kind, tmp_path), KeyConfig(key_file=tmp_path / "key")
    problems = []

    def make():
        try:
            make_store(place, keys).close()
        except LeadlineError as error:
            problems.append(str(error))

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(problems) < 4
    open_store(place, keys).close()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_store_that_another_process_begins_meanwhile_is_not_begun_anew(
    kind, tmp_path, monkeypatch
):
    place, keys = address(kind, tmp_path), KeyConfig(key_file=tmp_path / "key")
    new_key_file(tmp_path / "key")
    choose = store_module._new_or_given

    def slowly(*given):
        monkeypatch.setattr(store_module, "_new_or_given", choose)
        make_store(place, keys).close()
        return choose(*given)

    monkeypatch.setattr(store_module, "_new_or_given", slowly)
    make_store(place, keys).close()
    open_store(place, keys).close()
