"""A store: its database and its keys, made once, opened by whoever works on it."""

from __future__ import annotations

import base64
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, exists, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from leadline.errors import LeadlineError
from leadline.output import check_apart
from leadline.store import schema
from leadline.store.database import Database, private_file
from leadline.store.migrate import check_known, upgrade
from leadline.store.vault import (
    KEY_VARIABLE,
    KeyConfig,
    SealBroken,
    Vault,
    key_path,
    new_key_file,
    read_key,
)

LOOKUP, KEY_ID, TEXTS = "lookup key", "key id", "texts"
SIGNS = {"setting", "person_key"}  # tables by which a store is known


@dataclass(frozen=True)
class Store:
    """What works on a store needs.

    Attributes:
        database: where it lies.
        vault: that opens it.
        keeps_texts: whether it holds the texts, or the app does.
    """

    database: Database
    vault: Vault
    keeps_texts: bool = True

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def make_store(address: str, keys: KeyConfig, *, keep_texts: bool = True) -> Store:
    """Make a store with a key of its own, or bring one that is there up to date.

    Raises:
        LeadlineError: the database cannot be reached, the key is not the one of the store, or what
            a store with people keeps of its keys is gone: new keys would open nothing of theirs.
    """
    database = Database(address)
    try:
        _make_room(database.file)
        upgrade(database)
        if database.read(_is_empty):  # new, or left so by a kill
            vault = Vault(_new_or_given(keys, database.file))
            with suppress(IntegrityError):  # another process began it: whose key, is seen below
                database.write(lambda connection: _begin(connection, vault, keep_texts))
    finally:
        database.close()
    return open_store(address, keys)


def open_store(address: str, keys: KeyConfig) -> Store:
    """Open a store that `make_store` made.

    Raises:
        LeadlineError: there is none, it is of another version, or the key is not its key.
    """
    database = Database(address)
    try:
        return _opened(database, keys)
    except BaseException:
        database.close()
        raise


def open_by_key(address: str, key: bytes) -> Store | None:
    """Open a store by a key in hand; None if it is not the store's.

    Raises:
        LeadlineError: there is no store, or it is of another version.
    """
    database = Database(address)
    try:
        settings = _settings(database)
        if settings[KEY_ID] == Vault(key).key_id:
            return _store_of(database, key, settings)
    except BaseException:
        database.close()
        raise
    database.close()
    return None


def change_key(store: Store, new_key: bytes) -> int:
    """Wrap every person's key, and the store's own, under a new key; how many people's."""
    new = store.vault.with_key(new_key)

    def work(connection: Connection) -> int:
        keys = schema.person_key
        rows = connection.execute(select(keys).where(keys.c.wrapped_key.is_not(None))).mappings()
        wrapped = [
            (row["person_id"],
             store.vault.rewrapped(bytes(row["wrapped_key"]), row["person_id"], new))
            for row in rows
        ]  # fmt: skip
        for person_id, key in wrapped:
            connection.execute(
                update(keys)
                .where(keys.c.person_id == person_id)
                .values(wrapped_key=key, kek_id=new.key_id)
            )
        for row in list(connection.execute(select(schema.team)).mappings()):
            sealed = new.seal(store.vault.open(bytes(row["name_sealed"]), "team"), "team")
            team = update(schema.team).where(schema.team.c.id == row["id"])
            connection.execute(team.values(name_sealed=sealed))
        for name, value in _key_settings(new).items():
            setting = update(schema.setting).where(schema.setting.c.name == name)
            connection.execute(setting.values(value=value))
        return len(wrapped)

    return store.database.write(work)


def _opened(database: Database, keys: KeyConfig) -> Store:
    settings = _settings(database)
    return _store_of(database, read_key(keys, database.file), settings)


def _store_of(database: Database, key: bytes, settings: dict[str, str | None]) -> Store:
    return Store(database, _vault(key, settings, database), settings[TEXTS] == "kept")


def _settings(database: Database) -> dict[str, str | None]:
    """What a store says of its keys and texts.

    Raises:
        LeadlineError: there is no store.
    """
    if not _is_store(database):
        raise LeadlineError(
            "There is no store here.",
            file=database.place,
            remedy="Make one with: leadline monitor init --store …",
        )
    check_known(database, newest=True)
    settings = database.read(
        lambda connection: {name: _setting(connection, name) for name in (LOOKUP, KEY_ID, TEXTS)}
    )
    if None in settings.values():
        raise LeadlineError(
            "What the store keeps of its keys is gone; without it nobody in it can be read.",
            file=database.place,
            remedy="Bring the store back from a copy. If nobody is in it yet, make it anew: "
            "leadline monitor init",
        )
    return settings


def _is_empty(connection: Connection) -> bool:
    """Whether no table of a store has a row, so that no key of it can have been lost."""
    tables = schema.METADATA.sorted_tables
    return not any(connection.execute(select(exists(select(table)))).scalar() for table in tables)


def _new_or_given(keys: KeyConfig, file: Path | None) -> bytes:
    is_given = KEY_VARIABLE in os.environ or keys.key_command is not None
    if is_given or key_path(keys, file).exists():
        return read_key(keys, file)
    return new_key_file(key_path(keys, file))


def _make_room(file: Path | None) -> None:
    """A place for a store of SQLite that nothing else has."""
    if file is None:
        return
    names = _sqlite_tables(file) if file.exists() and file.stat().st_size else set()
    if names is None or (names and not names >= SIGNS):  # a kill leaves a database without tables
        raise LeadlineError(
            "What lies here is no store of Leadline.", file=file, remedy="Name another file."
        )
    if not names:
        check_apart(file)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_file(file)


def _is_store(database: Database) -> bool:
    if database.file is not None:
        return database.file.is_file() and _is_sqlite_store(database.file)
    return database.read(lambda connection: bool(inspect(connection).has_table("setting")))


def _is_sqlite_store(file: Path) -> bool:
    return (_sqlite_tables(file) or set()) >= SIGNS


def _sqlite_tables(file: Path) -> set[str] | None:
    """The tables of a file of SQLite, read without changing a byte; None if it is no such file."""
    place = f"file:{quote(str(file))}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as connection:
            return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError:
        return None


def _begin(connection: Connection, vault: Vault, keep_texts: bool) -> None:
    if not _is_empty(connection):
        return
    texts = {TEXTS: "kept" if keep_texts else "elsewhere"}
    for name, value in (_key_settings(vault) | texts).items():
        connection.execute(insert(schema.setting).values(name=name, value=value))


def _key_settings(vault: Vault) -> dict[str, str]:
    wrapped = base64.b64encode(vault.wrapped_lookup()).decode()
    return {LOOKUP: wrapped, KEY_ID: vault.key_id}


def _setting(connection: Connection, name: str) -> str | None:
    query = select(schema.setting.c.value).where(schema.setting.c.name == name)
    return connection.execute(query).scalar()


def _vault(key: bytes, settings: dict[str, str | None], database: Database) -> Vault:
    if Vault(key).key_id != settings[KEY_ID] or settings[LOOKUP] is None:
        raise LeadlineError(
            "The key is not the one that this store was made with.",
            file=database.place,
            remedy="Give the store's own key with --key-file, --key-command or " + KEY_VARIABLE,
        )
    try:
        return Vault(key, base64.b64decode(settings[LOOKUP] or ""))
    except (ValueError, SealBroken):
        raise LeadlineError(
            "What the store keeps of its keys was changed.",
            file=database.place,
            remedy="Bring the store back from a copy.",
        ) from None
