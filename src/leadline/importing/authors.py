"""Whose identifier a table holds: the person's in every row, or that of each row's author.

Where no one who speaks as the person ever speaks as another, and somebody else's identifier stands
in rows of the same conversations, the identifiers name authors: what an assistant or clinician said
is moved to the one person of the conversation. Speakers "0" and "1" of every dialogue are no
people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline.errors import LeadlineError
from leadline.importing.spool import Spool
from leadline.sources.batch import NOBODY
from leadline.sources.config import ROLES, ImportConfig
from leadline.sources.rejects import RejectedRows

USER = 1 << ROLES.index("user")

OTHERS = (1 << ROLES.index("assistant")) | (1 << ROLES.index("clinician"))

MOVED = "conversations in which each row names its author, joined under the person's identifier"

UNNAMED = (
    "conversations in which only the person's rows name somebody, joined under that identifier"
)

MOST = 4  # identifiers, with those of authors, beyond which nobody stands for all

SPEAKERS = frozenset(("0", "user", "usr", "patient", "client", "human", "participant", "speaker_0",
                      "speaker_1", "speaker0", "speaker1", "seeker", "speaker a", "speaker b",
                      "person", "me"))  # fmt: skip
"""Names that nobody has."""

PLACEHOLDERS = SPEAKERS | frozenset(("1", "2", "a", "b"))
"""The same, and names that a speaker has where another one stands in the same dialogues."""


def settle_authors(spool: Spool, ledger: RejectedRows, source: Path) -> None:
    """Move the rows of authors who are not the person to the person of their conversation.

    Raises:
        LeadlineError: a conversation has several people who could be the one.
    """
    if NOBODY not in spool.people and bool(np.all(spool.voices & USER)):
        return
    by_name: dict[str, list[int]] = {}
    for (_, name), code in spool.conversations.items():
        by_name.setdefault(name, []).append(code)
    users = {spool.owner[code] for code, voices in enumerate(spool.voices) if voices & USER}
    nobody = spool.people.get(NOBODY)
    users.discard(nobody if nobody is not None else -1)
    mixed = any(voices & USER and voices & OTHERS for voices in spool.voices)
    moves: dict[int, int] = {}
    reasons: dict[str, int] = {}
    for codes in by_name.values():
        persons_here = [code for code in codes if spool.owner[code] in users
                        and spool.voices[code] & USER]  # fmt: skip
        for code in codes:
            author = spool.owner[code]
            if author in users or spool.voices[code] & USER:
                continue
            if mixed and author != nobody:
                continue
            if len(persons_here) == 1:
                moves[code] = persons_here[0]
                why = UNNAMED if author == nobody else MOVED
                reasons[why] = reasons.get(why, 0) + 1
            elif persons_here and author != nobody:
                raise several(source)
    if moves:
        spool.move(moves)
    for why, count in reasons.items():
        ledger.note(why, count)
    if nobody is not None:
        for code, owner in enumerate(spool.owner):
            if owner == nobody and code not in moves:
                spool.leave(code, ledger, "The person identifier is missing.", "Fill it in.")


def several(source: Path) -> LeadlineError:
    """The error for conversations of several people and authors who are none of them."""
    return LeadlineError(
        "The person column names the author of each row, and a conversation has several people "
        "who could be the one.",
        remedy="Give --one-person-per-conversation with --person-role, or a column that holds the "
        "same person in every row of a conversation: --column person=NAME.",
        file=source,
    )


def refuse_placeholders(spool: Spool, settings: ImportConfig, source: Path) -> None:
    """Refuse a speaker that stands for the person in every dialogue.

    Raises:
        LeadlineError: everybody is called 0, user or the like, in several conversations.
    """
    if settings.person or settings.one_person_per_conversation or len(spool.people) > MOST:
        return
    persons = spool.persons()
    names_of_nobody = PLACEHOLDERS if spool.moved else SPEAKERS
    if len(persons) != 1 or persons[0].strip().lower() not in names_of_nobody:
        return
    conversations = int(np.count_nonzero(spool.voices))
    if conversations < 2:
        return
    raise LeadlineError(
        f"One person stands in all {conversations} conversations under a name such as 0, 1 or "
        "user: a speaker, and nobody's identifier.",
        remedy="Give --one-person-per-conversation if each conversation is another person, another "
        "column with --column person=NAME, or --person ID if it is one person indeed.",
        file=source,
    )
