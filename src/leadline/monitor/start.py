"""What the verbs of `leadline monitor` do: open a store, do one thing, let go of it."""

from __future__ import annotations

import importlib.util
import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import Connection, func, select

from leadline.errors import LeadlineError, missing_package
from leadline.monitor.config import MonitorConfig, write_config
from leadline.monitor.nightly import night_of, run_night
from leadline.monitor.parameters import run_parameters
from leadline.monitor.records import keep_parameters
from leadline.monitor.texts import AppTexts, SealedTexts, Texts
from leadline.store import schema, times
from leadline.store.migrate import current_revision
from leadline.store.models import live_model, models, promote, register_model
from leadline.store.people import OF_A_PERSON, find_people, forget_person, team_id
from leadline.store.store import Store, change_key, make_store, open_by_key, open_store
from leadline.store.tokens import list_tokens, make_token, revoke_token
from leadline.store.vault import KeyConfig, new_key
from leadline.store.work import backlog

if TYPE_CHECKING:
    from leadline.running.scorer import RunningConfig
    from leadline.scoring.config import ScoreConfig

OLD_BACKUP = 36 * 3600 * times.SECOND


@contextmanager
def opened(address: str, keys: KeyConfig) -> Iterator[Store]:
    """A store, for the time of the block."""
    store = open_store(address, keys)
    try:
        yield store
    finally:
        store.close()


def start_store(
    address: str, run: Path, keys: KeyConfig, config: MonitorConfig, *, keep_texts: bool
) -> dict[str, Any]:
    """Make a store for the estimates of a run, or bring one up to date; facts of it.

    Raises:
        LeadlineError: the run is not finished, or another model of the store is live.
    """
    from leadline.runs.checkpoint import check_run, run_identity
    from leadline.runs.manifest import saw_no_label

    check_run(run)
    model_id = run_identity(run)
    parameters = run_parameters(run)
    without_labels = saw_no_label(run)
    store = make_store(address, keys, keep_texts=keep_texts)

    def work(connection: Connection) -> None:
        model = live_model(connection)
        if model is not None and model["model_id"] != model_id:
            raise LeadlineError(
                "Another model is live in this store.",
                remedy="Read everything by the new run first: leadline monitor rescore, then "
                "promote.",
            )
        place = str(run.resolve())
        register_model(connection, model_id, place, times.now(), status="live",
                       without_labels=without_labels)  # fmt: skip
        keep_parameters(connection, parameters, model_id, times.now())
        write_config(connection, config)

    try:
        store.database.write(work)
    finally:
        store.close()
    return {
        "store": store.database.place,
        "model": model_id,
        "people": parameters.people,
        "no_label_seen": without_labels,
        "texts": "kept" if store.keeps_texts else "elsewhere",
    }


def new_token(
    address: str,
    keys: KeyConfig,
    name: str,
    scopes: Sequence[str],
    bounds: tuple[float, str | None],
) -> str:
    """Make a token; `bounds` are the days for which it holds and the team whose people it sees."""
    days, team = bounds
    with opened(address, keys) as store:

        def work(connection: Connection) -> str:
            number = None if team is None else team_id(connection, store.vault, team, make=True)
            return make_token(connection, name, scopes, (times.now(), days), number)

        return store.database.write(work)


def shown_tokens(address: str, keys: KeyConfig) -> list[dict[str, Any]]:
    """Tokens as a person reads them, without their secrets."""
    with opened(address, keys) as store:
        rows = store.database.read(list_tokens)
    return [
        {
            "id": row["id"], "name": row["name"], "scopes": row["scopes"],
            "expires": _when(row["expires_at"]), "last_used": _when(row["last_used"]),
            "revoked": _when(row["revoked_at"]),
        }
        for row in rows
    ]  # fmt: skip


def _when(microsecond: int | None) -> str:
    return "-" if microsecond is None else times.moment(microsecond).isoformat(timespec="minutes")


def end_token(address: str, keys: KeyConfig, token_id: str) -> None:
    """End a token.

    Raises:
        LeadlineError: there is none of this id that holds.
    """
    with opened(address, keys) as store:
        if not store.database.write(lambda c: revoke_token(c, token_id, times.now())):
            raise LeadlineError(
                "There is no such token that holds.",
                remedy="List them: leadline monitor token --list",
            )


def need_service() -> None:
    """Say what is missing to serve."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "monitor", "leadline monitor serve")


def texts_of(store: Store, history_url: str | None) -> Texts:
    """Where the texts of a store are.

    Raises:
        LeadlineError: the app keeps them, and it is not said where it answers.
    """
    if store.keeps_texts:
        return SealedTexts()
    if history_url is None:
        raise LeadlineError("The app keeps the texts of this store.", remedy="Give --history-url.")
    return AppTexts(history_url)


def run_scorer(
    address: str,
    keys: KeyConfig,
    budget: tuple[Path, RunningConfig],
    *,
    history_url: str | None = None,
    once: bool = False,
    stop: threading.Event | None = None,
) -> int:
    """Score until `stop`, or with `once` until nothing waits; readings of people.

    Raises:
        LeadlineError: the store has no model, or its run cannot be loaded.
    """
    from leadline.monitor.scorer import LiveScorer, ScorerConfig

    log_to_stderr()
    states, running = budget
    with opened(address, keys) as store:
        model = store.database.read(live_model)
        if model is None:
            raise LeadlineError("The store has no model.", remedy="Run: leadline monitor init")
        config = ScorerConfig(Path(model["run"]), states, running)
        scorer = LiveScorer(store, config, texts_of(store, history_url))
        try:
            return scorer.run_once() if once else scorer.run(stop or threading.Event())
        finally:
            scorer.close()


def log_to_stderr() -> None:
    """Have what a long-running process logs on the error stream; it holds no words of people."""
    logger = logging.getLogger("leadline")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)


def night(
    address: str,
    keys: KeyConfig,
    when: date | None = None,
    *,
    backup: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """One night of a store, and a look at its copy; what each step did."""
    now = times.now()
    with opened(address, keys) as store:
        steps = run_night(store, when or night_of(now), now, progress=progress)
    if backup is not None:
        steps["backup"] = check_backup(backup, now)
    return steps


def check_backup(path: Path, now: int) -> dict[str, Any]:
    """Whether a copy of a store of SQLite is whole and fresh.

    Raises:
        LeadlineError: it is not there, damaged, no store, or more than a day and a half old.
    """
    problem, people = "", 0
    if not path.is_file():
        problem = "is not there"
    elif now - path.stat().st_mtime_ns // 1000 > OLD_BACKUP:
        problem = "is more than a day and a half old"
    else:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            try:
                intact = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                people = connection.execute("SELECT count(*) FROM person").fetchone()[0]
            except sqlite3.DatabaseError:
                intact = False
        problem = "" if intact else "is damaged, or no store"
    if problem:
        raise LeadlineError(
            f"The copy of the store {problem}.", file=path,
            remedy="Make one with: sqlite3 STORE \"VACUUM INTO 'COPY'\", and see why it failed.",
        )  # fmt: skip
    return {"whole": True, "people": int(people)}


def rescore_store(
    address: str, keys: KeyConfig, run: Path, config: ScoreConfig, *, history_url: str | None = None
) -> dict[str, Any]:
    """Estimate a whole store by another run, beside what is shown."""
    from leadline.monitor.rescore import rescore
    from leadline.runs.checkpoint import run_identity

    with opened(address, keys) as store:
        counts = rescore(store, run, config, texts=texts_of(store, history_url))
        parameters = run_parameters(run)
        model_id = run_identity(run)
        store.database.write(lambda c: keep_parameters(c, parameters, model_id, times.now()))
    return {**counts, "model": model_id}


def promote_model(address: str, keys: KeyConfig, model_id: str) -> None:
    """Show the estimates of another model from now on."""
    with opened(address, keys) as store:
        store.database.write(lambda connection: promote(connection, model_id, times.now()))


def forget(address: str, keys: KeyConfig, person: str, *, really: bool) -> dict[str, int]:
    """Forget a person, or say what would go; rows by table.

    Raises:
        LeadlineError: nobody of this name is in the store.
    """
    with opened(address, keys) as store:

        def work(connection: Connection) -> dict[str, int] | None:
            stored = find_people(connection, store.vault, [person]).get(person)
            if stored is None:
                return None
            counts = {}
            for table in OF_A_PERSON:
                if "person_id" in table.c:
                    query = select(func.count()).select_from(table)
                    of_person = query.where(table.c.person_id == stored.id)
                    counts[table.name] = int(connection.execute(of_person).scalar_one())
            if really:
                forget_person(connection, store.vault, person, times.now())
            return counts

        counts = store.database.write(work)
    if counts is None:
        raise LeadlineError(
            "Nobody of this name is in the store.", remedy="Give the name that the sender uses."
        )
    return counts


def rekey(address: str, keys: KeyConfig, path: Path) -> int:
    """Wrap every key under a new one, which is written beside `path` first; how many.

    The same command goes on where a killed one was.
    """
    with new_key(path) as key:
        store = open_by_key(address, key) or open_store(address, keys)
        try:
            return change_key(store, key)
        finally:
            store.close()


def examine(address: str, keys: KeyConfig) -> dict[str, Any]:
    """How a store stands, in counts."""
    with opened(address, keys) as store:

        def work(connection: Connection) -> dict[str, Any]:
            def count(table: Any, *where: Any) -> int:
                query = select(func.count()).select_from(table).where(*where)
                return int(connection.execute(query).scalar_one())

            people, messages = backlog(connection)
            last = select(func.max(schema.night.c.ended_at))
            return {
                "store": store.database.place,
                "models": [f"{row['model_id']} ({row['status']})" for row in models(connection)],
                "people": count(schema.person, schema.person.c.forgotten_at.is_(None)),
                "messages": count(schema.message),
                "phq9s": count(schema.phq9, schema.phq9.c.retracted_at.is_(None)),
                "people_unread": people,
                "messages_unread": messages,
                "people_failed": count(schema.person, schema.person.c.failed.is_not(None)),
                "views_due": count(schema.person, schema.person.c.refresh_due.is_not(None)),
                "item9_calls_open": count(
                    schema.hook_call, schema.hook_call.c.delivered_at.is_(None)
                ),
                "last_night": _when(connection.execute(last).scalar()),
            }

        facts = store.database.read(work)
        return facts | {"tables": current_revision(store.database), "texts":
                        "kept" if store.keeps_texts else "elsewhere"}  # fmt: skip
