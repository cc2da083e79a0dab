"""Estimates as messages arrive: what `leadline score` gives, at the cost of the new messages.

`RunningScorer` holds a finished run and, for each person, what the next estimate needs. It gives
the rows of `estimates` for the new user turns, by the same pools, heads and calibration as
`score.running_estimates` gives for the whole conversation.

Text is not kept. Where earlier messages are needed (the context is full, a state was dropped,
damaged, or made by another model) they are asked of the caller, who has them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_matrix, vstack

from leadline.arrays import Ints
from leadline.cohort.masking import DETECTOR, Asked, mask_continuation, mask_messages
from leadline.cohort.timeline import Message, Timeline
from leadline.cohort.windows import Span, starts_at
from leadline.cohort.words import word_count
from leadline.errors import LeadlineError
from leadline.heads.calibration import Calibrated
from leadline.heads.design import PersonStates
from leadline.phq9.distribution import Totals
from leadline.running.reader import (
    Continuation,
    EarlierMessages,
    NewMessages,
    OtherHistory,
    RunningReader,
    no_history,
)
from leadline.running.state_store import ReadingState, StateStore, new_reading
from leadline.runs.checkpoint import load_ensemble, run_identity
from leadline.runs.ensemble import AdaptedModel, Ensemble
from leadline.runs.estimates import (
    aged_out,
    estimates_schema,
    estimates_table,
    readings_before_turn,
    with_profiles,
)
from leadline.runs.manifest import saw_no_label
from leadline.runs.profiles import item_models_of
from leadline.settings import check_choices, setting
from leadline.tables import check_estimates

GIGABYTE = 1e9
WINDOWS: dict[str, pl.DataType] = {"window_turns": pl.Int32(), "window_words": pl.Int32()}


@dataclass(frozen=True)
class TimedMessage:
    """One message with its place and time.

    Attributes:
        role: user, assistant, clinician or system.
        text: its words.
        time: aware, or None if unknown.
        conversation_id: which conversation it belongs to.
        turn: its number in that conversation.

    >>> from leadline import TimedMessage
    >>> TimedMessage("user", "I hardly slept again.").role
    'user'
    """

    role: str
    text: str
    time: datetime | None = None
    conversation_id: str = ""
    turn: int = 0


History = Callable[[str], Sequence[TimedMessage]]


@dataclass(frozen=True)
class RunningConfig:
    """What a running scorer may take."""

    memory_gb: float = setting(4.0, "Memory for the states of people, in GB.", least=0)
    disk_gb: float = setting(50.0, "Disk for the states of people, in GB.", least=0)
    batch_tokens: int = setting(4096, "New tokens read at once, padding included.", least=1)

    def __post_init__(self) -> None:
        check_choices(self)


class RunningScorer:
    """The running estimates of a run, message by message. For one thread.

    Args:
        run: a finished run.
        config: budgets.
        folder: where states lie between two processes; None keeps them in memory alone.
        history: gives all messages of a person before the new ones, in order; asked when they
            must be read again.
        home: where readers are kept.
        items: add the profile of the items to each estimate (`profiles.profile.profile_schema`).
            Item 9 is there as a part of the total: no sign of risk or safety.

    Raises:
        LeadlineError: the run cannot be loaded, its reader cannot be continued, it gives no
            profile and is asked for one, or the folder is in use.

    >>> from leadline import RunningScorer, TimedMessage
    >>> with RunningScorer("run") as scorer:
    ...     first = scorer.add("p1", [TimedMessage("user", "I hardly slept again.")])
    ...     second = scorer.add("p1", [TimedMessage("user", "Work is fine, though.", turn=1)])
    >>> row = second.row(0, named=True)
    >>> row["lower"] <= row["mean"] <= row["upper"]
    True
    """

    def __init__(
        self,
        run: Path | str,
        *,
        config: RunningConfig | None = None,
        folder: Path | None = None,
        history: History | None = None,
        home: Path | None = None,
        items: bool = False,
    ) -> None:
        run, config = Path(run), config or RunningConfig()
        self.ensemble, self.window = load_ensemble(run, home=home)
        self.items = item_models_of(run) if items else None
        self.model_id, self.history = run_identity(run), history
        self.no_label_seen = saw_no_label(run)
        """Whether the run is one of `leadline prior`: to be said beside every estimate."""
        masked = [DETECTOR] * self.window.mask_questionnaire  # what was read depends on it
        self.readers = open_running(self.ensemble, config.batch_tokens)
        self.store = StateStore(
            ":".join([self.model_id, *masked, *(reader.identity for reader in self.readers)]),
            [reader.device for reader in self.readers],
            folder=folder,
            memory_bytes=config.memory_gb * GIGABYTE,
            disk_bytes=config.disk_gb * GIGABYTE,
        )
        self.read_again = 0
        """Times that a person's whole history was read again."""

    def __enter__(self) -> RunningScorer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the states of everyone to the folder and let go of it."""
        self.store.close()

    def add(
        self, person_id: str, messages: Sequence[TimedMessage], *, before: int | None = None
    ) -> pl.DataFrame:
        """Estimates after each user turn among a person's new messages; see `add_many`."""
        return self.add_many(
            {person_id: messages}, before=None if before is None else {person_id: before}
        )

    def add_many(
        self, news: Mapping[str, Sequence[TimedMessage]], *, before: Mapping[str, int] | None = None
    ) -> pl.DataFrame:
        """Estimates after each user turn among the new messages of many people.

        Args:
            news: new messages by person, in order, all roles.
            before: how many messages each person had before; where it is given and differs from
                what was read, the person is read again. It guards against messages that were
                given twice or not at all.

        Returns:
            A table of `ESTIMATES`, in the order of `news`, with the profile if it was asked for.

        Raises:
            LeadlineError: earlier messages are needed and `history` does not give them. Nobody's
                state has changed then.
        """
        return self.add_with_windows(news, before=before).drop(list(WINDOWS))

    def add_with_windows(
        self, news: Mapping[str, Sequence[TimedMessage]], *, before: Mapping[str, int] | None = None
    ) -> pl.DataFrame:
        """As `add_many`, and what each estimate rests on.

        Returns:
            A table of `ESTIMATES` with `window_turns` and `window_words`: the person's turns in
            the window, and their words.
        """
        people = [
            self._begin(person_id, messages, (before or {}).get(person_id))
            for person_id, messages in news.items()
        ]
        try:
            courses = self._read(people)
        except OtherHistory:
            people = [self._anew(person.person_id, person.new) for person in people]
            courses = self._read(people)
        table, new = self._estimates(people, courses)
        check_estimates(table, None)
        recent_courses = {
            person.person_id: forget(course, self.window.days)
            for person, course in zip(people, courses, strict=True)
        }
        self.store.put(recent_courses)
        return table.filter(pl.Series(new, dtype=pl.Boolean))

    def forget_person(self, person_id: str) -> None:
        """Let nothing be left of what was read of a person, in memory and on disk."""
        self.store.drop(person_id)

    def _begin(self, person_id: str, new: Sequence[TimedMessage], before: int | None) -> _Person:
        if not self.ensemble.members_for(person_id):
            raise LeadlineError(
                "Every model of this run was trained on this person: no estimate is honest.",
                remedy="Use a run of --scheme crossfit, whose folds leave everybody out once.",
            )
        """Where a person's reading goes on, or begins."""
        course = self.store.get(person_id)
        first = course is None and self.history is None and before is None
        if before == 0 or (first and not self.store.lost(person_id)):
            return _Person(person_id, new_reading([r.width for r in self.readers]), (), new)
        if course is not None and before in (None, course.read):
            times = _times([message for message in new if message.role == "user"])
            if not reaches_back(course, times, self.window.days):
                return _Person(person_id, course, (), new)
        return self._anew(person_id, new, before)

    def _anew(
        self, person_id: str, new: Sequence[TimedMessage], before: int | None = None
    ) -> _Person:
        """A person who is read from the first message on."""
        old = tuple(self.history(person_id)) if self.history is not None else None
        if old is None or (before is not None and len(old) != before):
            raise LeadlineError(
                "The earlier messages of a person must be read again and are not all given."
                if old is None
                else f"A person had {before} messages before; the history gives {len(old)}.",
                remedy="Give the history of everyone: all messages before the new ones.",
            )
        self.read_again += bool(old)
        return _Person(person_id, new_reading([r.width for r in self.readers]), old, new)

    def _read(self, people: Sequence[_Person]) -> list[ReadingState]:
        """The course of each person after the new messages, nothing dropped."""
        messages, questionnaires = [], []
        for person in people:
            person_messages = [
                Message(message.role, message.text) for message in (*person.old, *person.new)
            ]
            questionnaire = person.course.questionnaire
            if self.window.mask_questionnaire:
                person_messages, questionnaire = mask_continuation(person_messages, questionnaire)
            messages.append(person_messages)
            questionnaires.append(questionnaire)
        earlier = [self._earlier(person) for person in people]
        reads: list[list[Continuation | None]] = []
        for number, reader in enumerate(self.readers):
            rows = [row for row, person in enumerate(people) if self._reads(number, person)]
            news = [
                NewMessages(people[row].course.contexts[number], messages[row], earlier[row])
                for row in rows
            ]
            continuations = dict(zip(rows, reader.read(news), strict=True))
            reads.append([continuations.get(row) for row in range(len(people))])
        return [
            _continued(
                person,
                person_messages,
                [by_person[row] for by_person in reads],
                questionnaire,
                self._terms(person_messages),
            )
            for row, (person, person_messages, questionnaire) in enumerate(
                zip(people, messages, questionnaires, strict=True)
            )
        ]

    def _terms(self, messages: Sequence[Message]) -> csr_matrix | None:
        source = self.ensemble.source
        return None if source is None else source.count(messages)

    def _reads(self, number: int, person: _Person) -> bool:
        """A training person is read by the adapted models that may estimate them, no other."""
        return self.ensemble.source is not None or number in self.ensemble.members_for(
            person.person_id
        )

    def _earlier(self, person: _Person) -> EarlierMessages:
        """The messages that were read before, as they were read; the history is asked once."""
        earlier_messages: list[Message] = []

        def earlier(count: int) -> Sequence[Message]:
            if self.history is None:
                return no_history(count)
            if not earlier_messages:
                person_messages = [
                    Message(message.role, message.text)
                    for message in self.history(person.person_id)
                ]
                earlier_messages.extend(
                    mask_messages(person_messages)
                    if self.window.mask_questionnaire
                    else person_messages
                )
            return earlier_messages[-count:] if len(earlier_messages) == person.course.read else ()

        return earlier

    def _estimates(
        self, people: Sequence[_Person], courses: Sequence[ReadingState]
    ) -> tuple[pl.DataFrame, list[bool]]:
        """Rows of the user turns, and which of them are new."""
        timelines, spans, reported = [], [], []
        for row, (person, course) in enumerate(zip(people, courses, strict=True)):
            user = [message for message in (*person.old, *person.new) if message.role == "user"]
            silent = sum(message.role == "user" for message in person.old)
            new = len(course.times) - len(user) + silent
            first = max(new - 1, 0)  # the turn before: what moved since is counted from there
            timelines.append(_timeline(person, course))
            starts = starts_at(course.times, first, self.window.days)
            spans += [Span(row, int(a), first + at) for at, a in enumerate(starts)]
            reported += [first + at >= new for at in range(len(starts))]
        if not spans:
            return pl.DataFrame(schema=estimates_schema(self.items) | WINDOWS), []
        moved, without = readings_before_turn(spans)
        both = self._distributions(timelines, courses, spans + without)
        totals, before_turn = both.take(slice(len(spans))), both.take(slice(len(spans), None))
        departure = aged_out(self.ensemble, timelines, spans, totals, (moved, before_turn.mean()))
        table = estimates_table(self.ensemble, timelines, spans, totals, departure, self.model_id)
        if self.items is not None:
            states = self._states(courses)
            profile = self.items.profile(self.ensemble, timelines, states, spans, totals)
            table = with_profiles(table, profile)
        words = [int(courses[s.person].words[s.first : s.last + 1].sum()) for s in spans]
        turns = pl.Series("window_turns", [s.last + 1 - s.first for s in spans], pl.Int32())
        windows = (turns, pl.Series("window_words", words, pl.Int32()))
        return table.with_columns(windows), reported

    def _states(self, courses: Sequence[ReadingState]) -> list[PersonStates] | None:
        """Turn states of frozen readers; None of adapted ones."""
        source = self.ensemble.source
        if source is None:
            return None
        return [
            PersonStates(
                {view: c.states[at][:, part] for view, (at, part) in source.views.items()},
                c.words,
                c.terms,
            )
            for c in courses
        ]

    def _distributions(
        self, timelines: Sequence[Timeline], courses: Sequence[ReadingState], spans: Sequence[Span]
    ) -> Totals:
        """Distributions of the total at the spans, from the turn states."""
        states = self._states(courses)
        if states is not None:
            return self.ensemble.distributions(timelines, states, spans)

        def estimate(number: int, rows: Ints) -> Calibrated:
            model = self.ensemble.members[number].model
            reader: Any = self.readers[number].reader
            assert isinstance(model, AdaptedModel)
            member_spans = [spans[int(row)] for row in rows]
            raw, words = [], []
            for person in dict.fromkeys(span.person for span in member_spans):
                turn_bounds = np.array(
                    [(s.first, s.last) for s in member_spans if s.person == person]
                )
                course = courses[person]
                raw.append(
                    reader.estimates(course.states[number], course.sizes[number], turn_bounds)
                )
                words += [course.words[a : b + 1].sum() for a, b in turn_bounds]
            flat = np.concatenate(raw).astype(np.float64)
            return model.calibrated(flat, np.array(words, dtype=np.float64))

        return self.ensemble.pool_estimates(timelines, spans, estimate)


@dataclass(frozen=True)
class _Person:
    """A person of whom something is read: messages `old` are read again, `new` reported."""

    person_id: str
    course: ReadingState
    old: tuple[TimedMessage, ...]
    new: Sequence[TimedMessage]


def open_running(ensemble: Ensemble, batch_tokens: int) -> list[RunningReader]:
    """One running reader for each reader of frozen models, or for each adapted model."""
    if ensemble.source is not None:
        frozen = ensemble.source.readers
        return [RunningReader(reader, batch_tokens=batch_tokens) for reader in frozen]
    # Members take turns message by message, so each is in memory by itself.
    adapted = [member.model.model.separate() for member in ensemble.members]  # type: ignore[union-attr]
    return [RunningReader(reader, batch_tokens=batch_tokens) for reader in adapted]


def _times(messages: Sequence[TimedMessage]) -> npt.NDArray[np.datetime64]:
    if any(message.time is not None and message.time.tzinfo is None for message in messages):
        raise LeadlineError(
            "A message has a time without a zone.",
            remedy="Give times that know their zone, such as UTC, or None.",
        )
    naive_times = [
        message.time.astimezone(UTC).replace(tzinfo=None) if message.time else None
        for message in messages
    ]
    return np.array(naive_times, dtype="datetime64[us]")


def _continued(
    person: _Person,
    messages: Sequence[Message],
    reads: Sequence[Continuation | None],
    questionnaire: Asked,
    terms: csr_matrix | None,
) -> ReadingState:
    course = person.course
    user = [message for message in (*person.old, *person.new) if message.role == "user"]
    words = [word_count(message.text) for message in messages if message.role == "user"]
    contexts, states, sizes = [], [], []
    for number, read in enumerate(reads):
        contexts.append(read.context if read else course.contexts[number])
        new_states = (
            read.states if read else np.zeros((len(user), course.states[number].shape[1]), "f4")
        )
        states.append(np.concatenate([course.states[number], new_states]))
        sizes.append(
            np.concatenate(
                [course.sizes[number], read.sizes if read else np.ones(len(user), np.int64)]
            )
        )
    return replace(
        course,
        contexts=tuple(contexts),
        states=tuple(states),
        sizes=tuple(sizes),
        words=np.concatenate([course.words, np.array(words, np.int64)]),
        times=np.concatenate([course.times, _times(user)]),
        latest=_latest_so_far(person)[-1],
        read=course.read + len(messages),
        turns=course.turns + len(user),
        questionnaire=questionnaire,
        terms=terms if course.terms is None else vstack([course.terms, terms], format="csr"),
    )


def reaches_back(course: ReadingState, times: npt.NDArray[np.datetime64], days: float) -> bool:
    """Whether a window that ends at one of `times` may hold a turn that is no longer kept.

    Only where a message is undated or older than one before it.
    """
    if len(course.times) == course.turns:
        return False
    length = np.timedelta64(int(days * 86_400_000_000), "us")
    return bool((~(course.edge <= times - length)).any())


def forget(course: ReadingState, days: float) -> ReadingState:
    """Drop the turns that no later window can hold, unless a message is undated or out of order.

    A person with an undated turn keeps all, because the window of an undated turn is everything.
    """
    if days == 0 or np.isnat(course.times).any() or not len(course.times):
        return course
    length = np.timedelta64(int(days * 86_400_000_000), "us")
    old = np.flatnonzero(course.times <= course.times.max() - length)
    if not len(old):
        return course
    # What the next turn moves is counted from the last reading, so that one is kept whole.
    first = min(int(old[-1]) + 1, int(starts_at(course.times, len(course.times) - 1, days)[0]))
    if not first:
        return course
    return replace(
        course,
        states=tuple(x[first:].copy() for x in course.states),
        sizes=tuple(x[first:].copy() for x in course.sizes),
        words=course.words[first:],
        times=course.times[first:],
        terms=None if course.terms is None else course.terms[first:],
        edge=course.times[first - 1],
    )


def _latest_so_far(person: _Person) -> npt.NDArray[np.datetime64]:
    """The latest time up to what was read before, and up to each message read now; NaT if none."""
    times = np.concatenate([[person.course.latest], _times((*person.old, *person.new))])
    return np.fmax.accumulate(times)


def _timeline(person: _Person, course: ReadingState) -> Timeline:
    """The kept user turns of a person; where the older ones were said is not kept.

    Each of those read now has the time at which everything up to it had been said.
    """
    messages = (*person.old, *person.new)
    now = [place for place, message in enumerate(messages) if message.role == "user"]
    user = [messages[place] for place in now]
    count = len(course.times)
    older = count - len(user)
    dated = ~np.isnat(course.times[older:])
    as_of = np.where(dated, _latest_so_far(person)[1:][now], np.datetime64("NaT", "us"))
    return Timeline(
        person.person_id,
        messages=(),
        user=np.arange(count),
        times=np.concatenate([course.times[:older], as_of]),
        conversation_ids=("",) * older + tuple(message.conversation_id for message in user),
        turns=np.array([0] * older + [message.turn for message in user], dtype=np.int32),
    )
