"""Intercom exports: conversations with a first message (`source`) and `conversation_parts`.

Bodies are HTML and become plain text (recorded). Authors of type user, lead and contact are
the person, bots are the assistant, admins are people and become clinicians unless --role
says otherwise. Internal notes were never said to the person and are left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadline.layouts.chat import conversations
from leadline.layouts.unsaid import NO_TEXT, NOTES, unsaid
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.people import PeopleColumns, picked
from leadline.sources.records import RawTurns, identifier
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

PERSON_TYPES = ("user", "lead", "contact")

WORDS = {
    **dict.fromkeys(PERSON_TYPES, "user"),
    "bot": "assistant",
    "admin": "clinician",
    "team": "system",
}

BLOCKS = frozenset(("p", "div", "br", "li", "ul", "ol", "tr", "table", "blockquote", "pre",
                    "h1", "h2", "h3", "h4", "h5", "h6"))  # fmt: skip

UNSEEN = frozenset(("script", "style"))

HTML = "HTML bodies turned into plain text"

EVENTS = "events without a body (assignment, closing), left out"


LONGEST_TAG = 1_000  # characters in which a quoted > is looked for

_TAG = re.compile(r"""</?[A-Za-z](?:[^>"']++|"[^"]*+"|'[^']*+')*+>""")

_NAME = re.compile(r"<(/?)([A-Za-z][^\s/>]{0,40})")

_ENDLESS_NUMBER = re.compile(r"&#(?:[0-9]{8,}+|[xX][0-9a-fA-F]{8,}+);?")


def _markup(body: str) -> Iterator[tuple[str, str, str]]:
    """Text, then the tag behind it as its slash and its name; in time linear in the length.

    Python's HTML parser is not, and quotes what it fails on. Markup that never ends is text.
    """
    start = at = 0
    last, last_comment = body.rfind(">"), body.rfind("-->")
    while 0 <= (at := body.find("<", at)) < last:
        stop, slash, name = _tag_at(body, at, last_comment)
        if stop == at:
            at += 1
            continue
        yield body[start:at], slash, name
        start = at = stop
    yield body[start:], "", ""


def _tag_at(body: str, at: int, last_comment: int) -> tuple[int, str, str]:
    """Where the markup at `at` stops, its slash and its name; `at` where it is no markup.

    A > follows. Comments end up to `last_comment`; to look for more would cost the whole body.
    """
    if body.startswith("<!--", at) and at + 4 <= last_comment:
        return body.index("-->", at + 4) + 3, "", ""
    begun = _NAME.match(body, at)
    if begun is None:
        stop = body.index(">", at) + 1 if body[at + 1] in "!?" else at
        return stop, "", ""
    tag = _TAG.match(body, at, at + LONGEST_TAG)
    stop = tag.end() if tag is not None else body.index(">", at) + 1
    return stop, begun[1], begun[2].lower()


def html_to_text(body: str) -> str:
    """Plain text of HTML: blocks become lines, entities characters, tags nothing."""
    pieces: list[str] = []
    unseen = 0
    for text, slash, name in _markup(body):
        if not unseen:
            text = html.unescape(_ENDLESS_NUMBER.sub("\ufffd", text))
            pieces.append(re.sub(r"[ \t\r\n]+", " ", text))
        if name in UNSEEN:
            unseen = max(0, unseen - 1) if slash else unseen + 1
        if name in BLOCKS and not (slash and name == "br"):
            pieces.append("\n")
    lines = "".join(pieces).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


def read_intercom(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open an Intercom export: one conversation, a list of them, or one a line."""
    people = PeopleColumns(settings.people_column)
    roles = roles_of(settings, WORDS)
    # user, lead and contact are one kind of author here, not rival words for the person.
    for word in PERSON_TYPES:
        if not settings.person_role:
            roles.explicit_roles = {word: "user", **roles.explicit_roles}
    batches = _batches(source, settings, people, ledger)
    return Source(batches, roles, people, inputs=[source])


def _batches(
    source: Path, settings: ImportConfig, people: PeopleColumns, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    rows = RawTurns(source, ledger)
    conversation_ids: set[str] = set()
    for where, record in conversations(source, ledger):
        if not isinstance(record, Mapping):
            rows.lose(where, "The conversation is not a JSON object.", "Check the export.")
            continue
        conversation = identifier(record.get("id"))
        parts = list(_said(record, rows, where))
        person = _person(record, settings, rows, where, len(parts))
        if person is None:
            continue
        if conversation is None or conversation in conversation_ids:
            rows.lose(
                where,
                "The conversation's id is missing or occurs twice.",
                "Check the export.",
                len(parts),
            )
            continue
        conversation_ids.add(conversation)
        ledger.uses.meet(source, record)
        ledger.uses.take(source, "id", "conversation")
        people.add(person, picked(record, people.columns), source, where, ledger)
        for place, part in parts:
            _add(rows, part, place, person, conversation)
        if rows.full:
            yield rows.batch()
    yield rows.batch()


def _said(
    record: Mapping[str, Any], rows: RawTurns, where: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The first message and the parts, each as one object with author, body, created_at."""
    first = record.get("source")
    if isinstance(first, Mapping):
        yield f"{where}, source", {"created_at": record.get("created_at"), **first}
    parts = record.get("conversation_parts")
    if isinstance(parts, Mapping):
        parts = parts.get("conversation_parts")
    if parts is None:
        parts = []
    if not isinstance(parts, list):
        rows.lose(where, "The conversation_parts are no list.", "Check the export.")
        return
    for number, part in enumerate(parts):
        place = f"{where}, conversation_parts[{number}]"
        if isinstance(part, Mapping):
            yield place, part
        else:
            rows.lose(place, "The part is not a JSON object.", "Check the export.")


def _add(
    rows: RawTurns, part: Mapping[str, Any], where: str, person: str, conversation: str
) -> None:
    uses = rows.ledger.uses
    uses.meet(rows.file, part, "parts[].")
    for key, kind in (("body", "text"), ("created_at", "time"), ("author", "role")):
        uses.take(rows.file, key, kind, "parts[].")
    body = part.get("body")
    why = NOTES if str(part.get("part_type")).startswith("note") else unsaid(part, None)
    if not why and (body is None or body == ""):
        why = EVENTS
    if why:
        rows.omit(why)
        return
    if isinstance(body, str) and ("<" in body or "&" in body):
        body = html_to_text(body)
        rows.ledger.note(HTML)
        if not body:
            rows.omit(NO_TEXT)
            return
    author = part.get("author")
    speaker = author.get("type") if isinstance(author, Mapping) else None
    rows.add(where, person, conversation, speaker, body, part.get("created_at"))


def _person(
    record: Mapping[str, Any], settings: ImportConfig, rows: RawTurns, where: str, messages: int
) -> str | None:
    """The contact of a conversation, or its one author who is a user, lead or contact."""
    if settings.person:
        return settings.person
    if settings.one_person_per_conversation:
        return identifier(record.get("id"))
    if settings.person_key:
        candidates = {identifier(record.get(settings.person_key))}
    else:
        candidates = _contacts(record) or _authors(record)
    candidates.discard(None)
    if len(candidates) == 1:
        return candidates.pop()
    problem = "names no contact" if not candidates else "has more than one contact"
    rows.lose(
        where,
        f"The conversation {problem}.",
        "Say where the person's identifier is with --person-key.",
        messages,
    )
    return None


def _contacts(record: Mapping[str, Any]) -> set[str | None]:
    contacts = record.get("contacts")
    if isinstance(contacts, Mapping):
        contacts = contacts.get("contacts")
    if not isinstance(contacts, list):
        return set()
    entries = [contact for contact in contacts if isinstance(contact, Mapping)]
    return {
        identifier(entry.get("external_id")) or identifier(entry.get("id")) for entry in entries
    }


def _authors(record: Mapping[str, Any]) -> set[str | None]:
    parts = record.get("conversation_parts")
    if isinstance(parts, Mapping):
        parts = parts.get("conversation_parts")
    messages = [record.get("source"), *(parts if isinstance(parts, list) else [])]
    authors = [part.get("author") for part in messages if isinstance(part, Mapping)]
    return {
        identifier(author.get("id"))
        for author in authors
        if isinstance(author, Mapping) and author.get("type") in PERSON_TYPES
    }
