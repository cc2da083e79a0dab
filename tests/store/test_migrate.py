"""Every released version of the tables is brought to the newest, with what is in them."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select
from tests.support import postgres
from tests.support.stores import DATABASES

from leadline.store.database import Database
from leadline.store.migrate import current_revision, revisions, upgrade
from leadline.store.schema import METADATA, setting


@pytest.fixture(params=DATABASES)
def database(request, tmp_path):
    place = tmp_path / "s.sqlite" if request.param == "sqlite" else postgres.new_database()
    made = Database(str(place))
    yield made
    made.close()


@pytest.mark.parametrize("revision", revisions())
def test_an_older_store_is_brought_up_to_date_with_its_rows(database, revision):
    upgrade(database, revision)
    assert current_revision(database) == revision
    database.write(lambda c: c.execute(insert(setting).values(name="mine", value="kept")))
    upgrade(database)
    upgrade(database)
    assert current_revision(database) == revisions()[-1]
    assert database.read(lambda c: c.execute(select(setting.c.value)).scalars().all()) == ["kept"]


def test_the_revisions_make_the_tables_that_the_code_knows(database):
    upgrade(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_an_upgrade_that_fails_leaves_nothing(database, monkeypatch):
    def fail(*_words, **_how):
        raise ZeroDivisionError

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
    with pytest.raises(ZeroDivisionError):
        upgrade(database)
    monkeypatch.undo()
    assert current_revision(database) is None
    upgrade(database)
