"""Bring the tables of a store to the newest version, with what is in them kept (Alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from leadline.errors import LeadlineError
from leadline.store.database import Database

FOLDER = Path(__file__).parent / "migrations"

MIGRATION_LOCK = 0x1EAD11
"""Number of the lock of PostgreSQL under which one process at a time makes tables."""


def upgrade(database: Database, revision: str = "head") -> None:
    """Run what is missing up to a revision; a database that is there already stays as it is."""
    check_known(database)

    def work(connection: Connection) -> None:
        config = _config()
        if connection.dialect.name == "postgresql":  # a file of SQLite has one writer anyway
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database.write(work)


def check_known(database: Database, *, newest: bool = False) -> None:
    """Raise unless the tables are of a version that was released, or are not there yet.

    Args:
        database: of the store.
        newest: they have to be there, and of the newest version.

    Raises:
        LeadlineError: they are not.
    """
    released, current = revisions(), current_revision(database)
    if current == released[-1] or (not newest and current in (None, *released)):
        return
    if current in released:
        raise LeadlineError(
            "The tables of this store are of an earlier version of Leadline.",
            file=database.place,
            remedy="Bring them up to date: leadline monitor init --store … --run …",
        )
    raise LeadlineError(
        "The tables of this store are of no version that this Leadline knows.",
        file=database.place,
        remedy="Use the Leadline that wrote it, or bring the store back from a copy.",
    )


def current_revision(database: Database) -> str | None:
    """The revision that the tables have; None where there are none."""
    return database.read(lambda c: MigrationContext.configure(c).get_current_revision())


def revisions() -> list[str]:
    """Every revision that was ever released, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [step.revision for step in reversed(list(script.walk_revisions()))]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config
