"""People and bots who write to each other in an app: authors become roles, one of them the person.

A post has an author with a name and a number, and perhaps a mark that says bot. The person is the
one author who is no bot, or whom --person-role (or --role NAME=user) names; their number identifies
them unless --person or --one-person-per-conversation says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.layouts.unsaid import EVENTS, REPEATS, placeholder
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.people import PeopleColumns
from leadline.sources.records import RawTurns
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN, roles_of
from leadline.sources.source import Source

NO_AUTHOR = "posts without an author (notices of the app), left out"


@dataclass
class Post:
    """What one author wrote.

    Attributes:
        where: locator.
        author: what identifies them: a number, else the name.
        name: as others see it.
        text: None where there is none.
        time: as given.
        bot: whether the app marks the author as a program; None where it says nothing.
        unsaid: why it was not said to the other, or "".
        number: identifier of the post, "" if it has none.
    """

    where: str
    author: str
    name: str
    text: Any
    time: Any
    bot: bool | None = None
    unsaid: str = ""
    number: str = ""


@dataclass
class Room:
    """One conversation of an app.

    Attributes:
        where: locator.
        name: of the conversation.
        posts: in their order.
        owner: author who made the export, if the source says so.
    """

    where: str
    name: str
    posts: list[Post] = field(default_factory=list)
    owner: str = ""


def read_posts(
    source: Path,
    rooms: Iterable[Room],
    settings: ImportConfig,
    ledger: RejectedRows,
    inputs: list[Path] | None = None,
) -> Source:
    """A source of rooms: each post of the person, of bots and of others becomes a turn."""
    batches = _batches(source, rooms, settings, ledger)
    people = PeopleColumns(settings.people_column)
    return Source(batches, roles_of(settings), people, inputs=inputs or [source])


def _batches(
    source: Path, rooms: Iterable[Room], settings: ImportConfig, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    rows = RawTurns(source, ledger)
    for room in rooms:
        speakers = _speakers(room, settings, source)
        person = _person(room, speakers, settings)
        numbers: dict[str, Any] = {}
        for post in room.posts:
            why = post.unsaid or placeholder(post.text)
            if not why and not post.author:
                why = NO_AUTHOR
            if not why and not (isinstance(post.text, str) and post.text.strip()):
                why = EVENTS if post.text is None else "posts without words, left out"
            if not why and post.number and numbers.get(post.number) == post.text:
                why = REPEATS
            if why:
                rows.omit(why)
                continue
            numbers[post.number] = post.text
            speaker = speakers[post.author]
            rows.add(post.where, person, room.name, speaker, post.text, post.time)
        if rows.full:
            yield rows.batch()
    yield rows.batch()


def _speakers(room: Room, settings: ImportConfig, source: Path) -> dict[str, str]:
    """Author -> word that the role map is asked for."""
    authors: dict[str, Post] = {}
    for post in room.posts:
        if post.author and not post.unsaid:
            authors.setdefault(post.author, post)
    roles = settings.roles()
    speakers: dict[str, str] = {}
    unclear: list[str] = []
    for author, post in authors.items():
        explicit = [word for word in (post.name, author) if word in roles]
        if explicit:
            speakers[author] = explicit[0]
        elif post.bot:
            speakers[author] = "bot"
        elif KNOWN.get(post.name.strip().lower()):
            speakers[author] = post.name
        else:
            unclear.append(author)
    persons = [author for author, word in speakers.items()
               if roles.get(word, KNOWN.get(word.strip().lower())) == "user"]  # fmt: skip
    if len(unclear) == 1 and not persons:
        speakers[unclear[0]] = "user"
    elif unclear:
        raise _who(room, len(unclear), bool(persons), source)
    return speakers


def _who(room: Room, unclear: int, has_person: bool, source: Path) -> LeadlineError:
    """The error for authors who are neither named nor marked; it does not name them."""
    problem = f"{unclear} authors of this conversation could be the person."
    if has_person:
        problem = f"It is not clear what {unclear} authors of this conversation are."
    return LeadlineError(
        problem,
        remedy="Name the person by the name or number that the file gives them, with --person-role "
        "NAME, and each other author with --role NAME=assistant (or clinician).",
        file=source,
        row=room.where,
    )


def _person(room: Room, speakers: Mapping[str, str], settings: ImportConfig) -> str:
    if settings.person:
        return settings.person
    if settings.one_person_per_conversation:
        return room.name
    roles = settings.roles()
    persons = [
        author
        for author, word in speakers.items()
        if roles.get(word, KNOWN.get(word.strip().lower())) == "user"
    ]
    # Two authors who are the person are refused by the role map, nobody by its last check.
    return persons[0] if persons else room.name
