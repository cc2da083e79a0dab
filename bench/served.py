"""A store of monitoring for the benches: sealed, each commit on the disk, behind real HTTP."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import postgres
from tests.support.killed import free_port
from tests.support.nursery import Nursery
from tests.support.served import token_of

from leadline.store import times
from leadline.store.models import register_model
from leadline.store.store import Store, make_store
from leadline.store.vault import KeyConfig

DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SECONDS_TO_START = 60.0


@contextmanager
def durable_store(
    kind: str, model: tuple[str, str] = ("model", "run")
) -> Iterator[tuple[Store, Path]]:
    """A store with a live model and nobody, and the file of its key."""
    with tempfile.TemporaryDirectory(prefix="store") as folder:
        path = Path(folder)
        address = (
            str(path / "store.sqlite") if kind == "sqlite" else postgres.new_database(durable=True)
        )
        store = make_store(address, KeyConfig(key_file=path / "key"))
        store.database.write(lambda c: register_model(c, *model, times.now(), status="live"))
        try:
            yield store, path / "key"
        finally:
            store.close()


def key_words(store: Store, key: Path) -> list[str]:
    """How a command names a store and the file of its key."""
    url = store.database.url.render_as_string(hide_password=False)
    return ["--store", str(url), "--key-file", str(key)]


@dataclass
class Service:
    """A service in a process of its own.

    Attributes:
        nursery: that began it.
        port: on this machine.
        headers: with a token of every scope.
    """

    nursery: Nursery
    port: int
    headers: dict[str, str]

    def client(self) -> http.client.HTTPConnection:
        """A connection that stays."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, client: http.client.HTTPConnection, way: str, body: Any = None) -> Any:
        """Ask, as `GET /path`; the answer."""
        method, path = way.split(" ", 1)
        content = None if body is None else json.dumps(body)
        client.request(method, path, content, self.headers)
        answer = client.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} was answered with {answer.status}")
        return json.loads(text)


@contextmanager
def serving(store: Store, key: Path, home: Path) -> Iterator[Service]:
    """The service of a store whose key lies in the file `key`, through its verb."""
    nursery, port = Nursery(home), free_port()
    headers = {"Content-Type": "application/json", **token_of(store, "ingest", "care", "metrics")}
    service = Service(nursery, port, headers)
    try:
        words = ["monitor", "serve", *key_words(store, key), "--port", str(port)]
        nursery.start(words, key.parent / "serve.log")
        _wait(service)
        yield service
    finally:
        nursery.close()


def _wait(service: Service) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until:
        with suppress(OSError):
            service.call(service.client(), "GET /readyz")
            return
        time.sleep(0.05)
    raise RuntimeError("The service did not start.")


def together(workers: Sequence[Callable[[], list[float]]]) -> tuple[list[float], float]:
    """Do it at once in threads; what each gave, in one list, and the seconds for all."""
    gathered: list[list[float]] = [[] for _ in workers]
    failures: list[BaseException] = []

    def do(place: int, work: Callable[[], list[float]]) -> None:
        try:
            gathered[place] = work()
        except BaseException as error:  # noqa: BLE001  told to whoever waits
            failures.append(error)

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(workers)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if failures:
        raise failures[0]
    return [one for part in gathered for one in part], seconds
