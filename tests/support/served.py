"""A service in this process, and what is sent to it."""

from datetime import timedelta

from starlette.testclient import TestClient
from tests.support.stores import START

from leadline.service.access import ServiceConfig
from leadline.service.app import framed, make_app
from leadline.store import times
from leadline.store.people import team_id
from leadline.store.tokens import make_token


def client_of(store, *, config: ServiceConfig | None = None) -> TestClient:
    """A client without a token."""
    return TestClient(framed(make_app(store, config)), raise_server_exceptions=False)


def token_of(store, *scopes: str, team: str | None = None) -> dict[str, str]:
    """The header of a bearer with these scopes."""

    def work(connection):
        number = None if team is None else team_id(connection, store.vault, team, make=True)
        return make_token(connection, "test", scopes, (times.now(), 1.0), number)

    return {"Authorization": f"Bearer {store.database.write(work)}"}


def moment(days: float = 0.0) -> str:
    """A time some days after the start, as JSON has it."""
    return (times.moment(START) + timedelta(days=days)).isoformat()


def message(name: str, text: str = "I hardly slept.", *, person="ada", days=0.0, **how):
    """A message as JSON."""
    fields = {"source": "app", "conversation": "c", "role": "user", **how}
    return {"id": name, "person": person, "time": moment(days), "text": text, **fields}


def phq9(name: str, total: float | None = 12, *, person="ada", days=0.0, **how):
    """A PHQ-9 as JSON."""
    fields = {} if total is None else {"total": total}
    return {"source": "clinic", "id": name, "person": person, "time": moment(days)} | fields | how


AGREED = {"consent": {"estimate": True}}
