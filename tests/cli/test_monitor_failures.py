"""Verbs of monitoring that cannot do their work: exit code 2, file, reason, remedy, and no secret.

People are called by a canary, say a canary, and a password stands in an address; none of them is
ever shown, and no failure is a traceback.
"""

from __future__ import annotations

import base64
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from tests.support.canary import PERSON, WORD

from leadline.artefact import MANIFEST
from leadline.cohort.store import write_cohort
from leadline.store.database import Database
from leadline.store.vault import KEY_VARIABLE

SECRET = "Kanarienkennwort"
AWAY = f"postgresql://leadline:{SECRET}@127.0.0.1:1/name"
VERBS = {
    "init": ("--run", "{run}"),
    "token": ("--name", WORD, "--scope", "ingest"),
    "load": ("{cohort}", "--consent", "simulated"),
    "serve": ("--port", "{taken}"),
    "score": ("--states", "{tmp}/states", "--once"),
    "nightly": (),
    "rescore": ("--run", "{run}"),
    "promote": (WORD,),
    "forget": (f"{PERSON}-x", "--yes"),
    "rekey": ("--new-key-file", "{tmp}/new.key"),
    "doctor": (),
}


QUICK = ("doctor", "init")


def by_verb(cases):
    """Each case with each verb: the first with all, the others with two verbs, the rest slow."""
    first = next(iter(cases))
    return [
        pytest.param(case, verb, marks=[] if case == first or verb in QUICK else pytest.mark.slow)
        for case in cases
        for verb in VERBS
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory, monitor_run, spread_cohort):
    """A store of canaries and the cohort that was loaded; not to be changed."""
    from leadline.monitor.config import MonitorConfig
    from leadline.monitor.load import LoadConfig, load_cohort
    from leadline.monitor.start import opened, start_store
    from leadline.store.vault import KeyConfig

    folder = tmp_path_factory.mktemp("made")
    named = pl.lit(f"{PERSON}-") + pl.col("person_id")
    turns, phq9, people = (
        pl.read_parquet(spread_cohort / f"{name}.parquet").with_columns(named.alias("person_id"))
        for name in ("turns", "phq9", "people")
    )
    turns = turns.with_columns(text=pl.col("text") + f" {WORD}")
    write_cohort(folder / "cohort", turns, phq9, people, command="test", settings={}, inputs={})
    address = str(folder / "s.sqlite")
    start_store(address, monitor_run, KeyConfig(), MonitorConfig(), keep_texts=True)
    with opened(address, KeyConfig()) as store:
        load_cohort(folder / "cohort", store, LoadConfig("simulated"))
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def refused(leadline, monitor_run, place, tmp_path):
    """Run a verb that must be refused; what it said."""
    listener = socket.create_server(("127.0.0.1", 0))  # what has its port, so that none is served
    taken = listener.getsockname()[1]

    def run(verb, *flags, store=None, words=None):
        names = {"run": monitor_run, "cohort": place / "cohort", "tmp": tmp_path, "taken": taken}
        words = [word.format(**names) for word in (VERBS[verb] if words is None else words)]
        code, out, err = leadline("monitor", verb, *words, "--store", store or place / "s.sqlite",
                                  *flags)  # fmt: skip
        assert code == 2, err
        assert "What to do: " in err
        assert "Traceback" not in err
        for canary in (WORD, PERSON, SECRET):
            assert canary not in out + err
        return err

    yield run
    listener.close()


def forge(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def spoil_page(file: Path) -> None:
    """Break the pages of SQLite behind the first, which holds the names of the tables."""
    content = bytearray(file.read_bytes())
    content[20 * 4096 : -4096] = (f"{PERSON} {WORD} ".encode() * len(content))[
        : -21 * 4096 + len(content)
    ]
    file.write_bytes(content)


def other_store(file: Path) -> None:
    file.unlink()
    forge(file, f"CREATE TABLE {PERSON} ({WORD})")


BROKEN = {
    "no database": lambda file: file.write_text(f"{PERSON} {WORD}"),
    "half a database": lambda file: file.write_bytes(file.read_bytes()[:50_000]),
    "broken pages": spoil_page,
    "somebody else's database": other_store,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "another version": lambda file: forge(
        file, f"UPDATE alembic_version SET version_num = '{WORD}'"
    ),
    "no settings of keys": lambda file: forge(file, "DELETE FROM setting WHERE name = 'key id'"),
    "no version": lambda file: forge(file, "DROP TABLE alembic_version"),
    "no settings": lambda file: forge(file, "DELETE FROM setting"),
    "forged settings": lambda file: forge(file, f"UPDATE setting SET value = '{WORD}'"),
    "a forged key of hashes": lambda file: forge(
        file, f"UPDATE setting SET value = '{WORD}' WHERE name = 'lookup key'"
    ),
    "a table that is gone": lambda file: forge(file, "DROP TABLE person"),
}  # fmt: skip


UNTOUCHED = {
    "a table that is gone": ("init", "token", "promote", "rekey"),
}
"""Verbs that do not read what was damaged."""


@pytest.mark.parametrize(("damage", "verb"), by_verb(BROKEN))
def test_a_broken_store_is_one_message(refused, place, damage, verb):
    if verb in UNTOUCHED.get(damage, ()):
        return
    BROKEN[damage](place / "s.sqlite")
    assert "s.sqlite" in refused(verb) or verb == "serve"


KEYS = {
    "of another store": base64.b64encode(bytes(32)).decode(),
    "no key": f"{SECRET}\n",
    "no text": "\udcff",
    "empty": "",
}


@pytest.mark.parametrize(("key", "verb"), by_verb(KEYS))
def test_a_wrong_key_is_one_message(refused, place, key, verb):
    file = place / "s.sqlite.key"
    file.write_bytes(KEYS[key].encode("utf-8", "surrogateescape"))
    assert "key" in refused(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_from_elsewhere_is_not_shown(refused, place, tmp_path, monkeypatch, verb):
    refused(verb, "--key-file", tmp_path / "none" / "key")
    refused(verb, "--key-file", place)
    refused(verb, "--key-command", f"sh -c 'echo {SECRET} >&2; exit 1'")
    refused(verb, "--key-command", f"echo {SECRET}")
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    refused(verb)


ADDRESSES = {
    "unreachable": AWAY,
    "password in the query": f"postgresql://127.0.0.1:1/name?password={SECRET}",
    "password with signs": f"postgresql://leadline:{SECRET}%40x:y@127.0.0.1:1/name",
    "no such host": f"postgresql://leadline:{SECRET}@nowhere.invalid/name",
    "no port": f"postgresql://leadline:{SECRET}@127.0.0.1:port/name",
    "a broken address": f"postgresql://leadline:{SECRET}@[::1/name",
    "another database": f"mysql://leadline:{SECRET}@127.0.0.1/name",
    "another driver": f"postgresql+nosuch://leadline:{SECRET}@127.0.0.1/name",
    "an old name": f"postgres://leadline:{SECRET}@127.0.0.1/name",
    "an unknown option": f"postgresql://127.0.0.1:1/name?{SECRET}=1",
    "nothing": "sqlite://",
    "a null": f"{SECRET}\0.sqlite",
}


@pytest.mark.parametrize(("address", "verb"), by_verb(ADDRESSES))
def test_a_database_that_is_not_there_is_one_message(refused, address, verb, tmp_path):
    refused(verb, "--key-file", tmp_path / "made" / "s.sqlite.key", store=ADDRESSES[address])


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def undate(cohort: Path) -> None:
    turns, phq9, people = (
        pl.read_parquet(cohort / f"{name}.parquet") for name in ("turns", "phq9", "people")
    )
    shutil.rmtree(cohort)
    never = pl.lit(None, dtype=turns.schema["time"]).alias("time")
    write_cohort(cohort, turns.with_columns(never), phq9, people, command="test", settings={},
                 inputs={})  # fmt: skip


COHORTS = {
    "absent": shutil.rmtree,
    "unfinished": lambda cohort: (cohort / MANIFEST).unlink(),
    "no manifest": lambda cohort: (cohort / MANIFEST).write_text(f'{{"kind": "{WORD}"'),
    "another kind": lambda cohort: (cohort / MANIFEST).write_text(
        f'{{"kind": "{WORD}", "format": 1, "leadline": "{PERSON}"}}'
    ),
    "another format": lambda cohort: (cohort / MANIFEST).write_text(
        f'{{"kind": "cohort", "format": "{WORD}", "leadline": "{PERSON}"}}'
    ),
    "changed": lambda cohort: spoil(cohort / "turns.parquet"),
    "no people": lambda cohort: (cohort / "people.parquet").unlink(),
    "no times": undate,
    "a file": lambda cohort: (shutil.rmtree(cohort), cohort.write_text(WORD)),
}


@pytest.mark.parametrize("damage", COHORTS)
def test_a_bad_cohort_is_one_message(refused, place, damage):
    COHORTS[damage](place / "cohort")
    assert "cohort" in refused("load")


WISHES = {
    "no agreement": ("load", ("{cohort}", "--consent", " ")),
    "nobody": ("forget", (f"{PERSON}-x",)),
    "no such model": ("promote", (WORD,)),
    "no such scope": ("token", ("--name", WORD, "--scope", WORD)),
    "no such token": ("token", ("--revoke", WORD)),
    "no such run": ("rescore", ("--run", "{tmp}/none")),
    "no run": ("rescore", ("--run", "{cohort}")),
    "no run to begin with": ("init", ("--run", "{cohort}")),
    "states in a file": ("score", ("--states", "{cohort}/manifest.json", "--once")),
    "no copy": ("nightly", ("--backup", "{tmp}/none.sqlite")),
    "a copy that is none": ("nightly", ("--backup", "{cohort}/manifest.json")),
    "a key that lies there": ("rekey", ("--new-key-file", "{cohort}/manifest.json")),
    "a key in no folder": ("rekey", ("--new-key-file", "{tmp}/none/key")),
    "no certificate": ("serve", ("--cert", "{tmp}/none.pem", "--cert-key", "{tmp}/none.key")),
    "a certificate that is none": (
        "serve", ("--cert", "{cohort}/manifest.json", "--cert-key", "{cohort}/manifest.json"),
    ),
    "an open network": ("serve", ("--host", "0.0.0.0")),
    "no such address": ("serve", ("--host", "192.0.2.1", "--behind-proxy", "--port", "0")),
    "no such name": ("serve", ("--host", "nowhere.invalid", "--behind-proxy", "--port", "0")),
}  # fmt: skip


@pytest.mark.parametrize("wish", WISHES)
def test_what_cannot_be_done_is_one_message(refused, wish):
    verb, words = WISHES[wish]
    refused(verb, words=words)


@pytest.mark.parametrize("address", [None, 5, b"s.sqlite", Path("s.sqlite")])
def test_from_python_an_address_that_is_no_text_is_one_error_or_a_file(address, tmp_path):
    from leadline.errors import LeadlineError

    if isinstance(address, Path):
        assert Database(tmp_path / address).file == tmp_path / address
        return
    with pytest.raises(LeadlineError, match="address of the store"):
        Database(address)
