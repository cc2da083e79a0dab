"""The scorer: a process that reads what came in and writes the estimates, as often as it may die.

It claims people who have unread messages, has `RunningScorer` read them, and writes estimates and
the mark of what was read in one transaction. Its states on disk are a help, never a truth: where
they do not fit what the store says (another process read the person last, a message came late, a
write failed), the person is read again from the store. So the estimates are those of `leadline
score` on the same messages, whatever was killed when.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import select

from leadline.artefact import replacing
from leadline.errors import LeadlineError, Unreachable
from leadline.monitor.now import refresh_due, refresh_people
from leadline.monitor.texts import SealedTexts, Texts
from leadline.phq9.distribution import Totals
from leadline.store import times
from leadline.store.estimates import EstimateRow
from leadline.store.models import live_model
from leadline.store.people import external_id, people_by_id
from leadline.store.schema import person
from leadline.store.store import Store
from leadline.store.work import (
    LEASE,
    Claim,
    claim_people,
    end_leases,
    extend_lease,
    finish,
    give_up,
    read_history,
)

if TYPE_CHECKING:
    from leadline.running.scorer import RunningConfig, RunningScorer, TimedMessage

LOG = logging.getLogger("leadline.monitor.scorer")
PAUSE = 0.5  # seconds between two looks when there is nothing to do


@dataclass(frozen=True)
class ScorerConfig:
    """What a scorer works with.

    Attributes:
        run: the run whose estimates are made.
        states: folder of its states, for this process alone.
        running: budgets of memory and disk.
        home: where readers are kept.
        at_once: people claimed at once.
    """

    run: Path
    states: Path
    running: RunningConfig
    home: Path | None = None
    at_once: int = 16


class LiveScorer:
    """One scorer. For one thread; a second one keeps its leases alive.

    Args:
        store: that it works on.
        config: run, states and budgets.
        texts: where the texts of messages are; None: sealed in the store.

    Raises:
        LeadlineError: the run is not the live model of the store, or cannot be loaded.
    """

    def __init__(self, store: Store, config: ScorerConfig, texts: Texts | None = None) -> None:
        from leadline.running.scorer import RunningScorer

        self.store, self.at_once = store, config.at_once
        self.texts: Texts = SealedTexts() if texts is None else texts
        self.running: RunningScorer = RunningScorer(
            config.run, config=config.running, folder=config.states, history=self._history,
            home=config.home,
        )  # fmt: skip
        try:
            self.model_id = self._live_model()
            self.owner = _owner(config.states)
            self._forget_the_forgotten()
            # Whoever held this folder has died, since its lock is ours: what it had begun is free.
            store.database.write(lambda c: end_leases(c, self.owner))
        except BaseException:
            self.running.close()
            raise
        self._claims: dict[str, Claim] = {}

    def close(self) -> None:
        """Write the states to their folder and let go of it."""
        self.running.close()

    def step(self) -> int:
        """Read some people, and make their views; how many people were read."""
        claims = self.store.database.write(
            lambda c: claim_people(c, self.store.vault, self.owner, times.now(), self.at_once)
        )
        if claims:
            with self._kept(claims):
                self._read(claims)
        refresh_due(self.store, times.now())
        return len(claims)

    def run(self, stop: threading.Event, pause: float = PAUSE) -> int:
        """Work until `stop` is set; readings of people."""
        readings = 0
        while not stop.is_set():
            try:
                people = self.step()
            except Unreachable as error:
                LOG.warning("%s", error.problem)
                people = 0
            readings += people
            if not people:
                stop.wait(pause)
        return readings

    def run_once(self) -> int:
        """Work until nothing waits; readings of people."""
        readings = 0
        while people := self.step():
            readings += people
        return readings

    def _live_model(self) -> str:
        model = self.store.database.read(live_model)
        if model is None or model["model_id"] != self.running.model_id:
            raise LeadlineError(
                "The run is not the live model of the store: its estimates would mix with those "
                "of another.",
                remedy="Give the run that the store was made with, or promote this one first.",
            )
        return str(model["model_id"])

    def _forget_the_forgotten(self) -> None:
        """Remove states of people whom the store no longer has."""
        here = select(person.c.id).where(person.c.forgotten_at.is_(None))
        ids = self.store.database.read(lambda c: list(c.execute(here).scalars()))
        names: set[str] = set()
        for first in range(0, len(ids), 500):
            find = partial(
                people_by_id, vault=self.store.vault, person_ids=ids[first : first + 500]
            )
            names |= {external_id(stored) for stored in self.store.database.read(find).values()}
        self.running.store.keep_only(names)

    def _read(self, claims: Sequence[Claim]) -> None:
        """Read people together; whoever cannot be read does not keep the others from it."""
        try:
            estimates = self._estimates(claims)
        except Unreachable:
            raise
        except Exception as error:  # noqa: BLE001  said of the person, and the others go on
            if len(claims) == 1:
                self._give_up(claims[0], error)
            else:
                for claim in claims:
                    self._read([claim])
            return
        self._finish(claims, estimates)

    def _give_up(self, claim: Claim, error: Exception) -> None:
        """Say of a person that they cannot be estimated; of an error of the program, its type."""
        why = error.problem if isinstance(error, LeadlineError) else type(error).__name__
        LOG.warning("A person cannot be estimated: %s", why)
        self.running.forget_person(external_id(claim.stored))
        now = times.now()
        self.store.database.write(lambda c: give_up(c, claim, why, now))
        refresh_people(self.store, [claim.stored.id], now)

    def _estimates(self, claims: Sequence[Claim]) -> list[list[EstimateRow]]:
        """The estimates after the new messages of each claim."""
        named = {external_id(claim.stored): claim for claim in claims}
        self._claims = named
        news: dict[str, Sequence[TimedMessage]] = {}
        for name, claim in named.items():
            if not claim.goes_on or claim.stored.row["state_owner"] != self.owner:
                self.running.forget_person(name)
            news[name] = _messages(claim.new, self.texts.read(claim.stored, claim.new))
        before = {name: claim.before for name, claim in named.items()}
        table = self.running.add_with_windows(_with_any(news), before=before)
        estimates = _rows(table)
        return [_joined(claim, estimates.get(name, [])) for name, claim in named.items()]

    def _history(self, name: str) -> Sequence[TimedMessage]:
        claim = self._claims[name]
        rows = self.store.database.read(lambda c: read_history(c, claim))
        return _messages(rows, self.texts.read(claim.stored, rows))

    def _finish(self, claims: Sequence[Claim], estimates: Sequence[Sequence[EstimateRow]]) -> None:
        model = (self.model_id, self.owner)
        now = times.now()
        written = self.store.database.write(
            lambda c: [
                finish(c, claim, model, rows, now)
                for claim, rows in zip(claims, estimates, strict=True)
            ]
        )
        for claim, finished in zip(claims, written, strict=True):
            if not finished:  # somebody else has the person, or something changed meanwhile
                self.running.forget_person(external_id(claim.stored))
        finished_ids = [claim.stored.id for claim, fin in zip(claims, written, strict=True) if fin]
        refresh_people(self.store, finished_ids, times.now())

    @contextmanager
    def _kept(self, claims: Sequence[Claim]) -> Iterator[None]:
        """Keep the leases while people are read, however long that takes."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(LEASE / 3 / times.SECOND):
                try:
                    self.store.database.write(lambda c: extend_lease(c, claims, times.now()))
                except Unreachable as error:  # the lease may end: then nothing is written
                    LOG.warning("%s", error.problem)

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _owner(folder: Path) -> str:
    """The name by which the store knows a folder of states."""
    path = folder / "owner"
    name = path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""
    if re.fullmatch("[0-9a-f]{32}", name) is None:  # two scorers of one name would share leases
        name = uuid.uuid4().hex
        with replacing(path) as scratch:
            scratch.write_text(name, encoding="ascii")
    return name


def _messages(rows: Sequence[Any], texts: Sequence[str]) -> list[TimedMessage]:
    from leadline.running.scorer import TimedMessage

    return [
        TimedMessage(
            row["role"], text, times.moment(row["time"]),
            bytes(row["conversation_hash"]).hex(), row["turn"],
        )
        for row, text in zip(rows, texts, strict=True)
    ]  # fmt: skip


def _with_any(news: Mapping[str, Sequence[TimedMessage]]) -> dict[str, Sequence[TimedMessage]]:
    """Without people of whom there is nothing to read: the last message was taken back."""
    return {name: messages for name, messages in news.items() if messages}


def _rows(table: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    estimates: dict[str, list[dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        estimates.setdefault(row["person_id"], []).append(row)
    return estimates


def _joined(claim: Claim, estimates: Sequence[dict[str, Any]]) -> list[EstimateRow]:
    """Each estimate with the number of the message that it came after."""
    user = [row for row in claim.new if row["role"] == "user"]
    return [estimate_row(row["seq"], fields) for row, fields in zip(user, estimates, strict=True)]


def estimate_row(seq: int, estimates: Mapping[str, Any]) -> EstimateRow:
    """A row of `ESTIMATES` with its windows, as the store takes it."""
    distribution = np.asarray(estimates["distribution"], dtype=np.float64)
    variance = float(Totals(distribution[None]).variance()[0])
    names = ("mean", "median", "lower", "upper", "p_ge_5", "p_ge_10", "p_ge_15", "p_ge_20")
    return EstimateRow(
        seq=seq,
        time=times.microseconds(estimates["time"]),
        distribution=distribution,
        figures={name: float(estimates[name]) for name in names} | {"variance": variance},
        increment=estimates["increment"],
        departure=estimates["departure"],
        window_turns=int(estimates["window_turns"]),
        window_words=int(estimates["window_words"]),
    )
