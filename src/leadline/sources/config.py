"""How to read a source: every setting of `leadline import`, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from leadline.errors import LeadlineError
from leadline.phq9.items import INSTRUMENTS, ITEM_COLUMNS
from leadline.settings import check_choices, flag, setting

ROLES = ("user", "assistant", "clinician", "system")

FORMATS = ("auto", "table", "cells", "exchanges", "folder", "survey", "chat", "sharegpt", "chatgpt",
           "claude", "discord", "telegram", "slack", "messenger", "whatsapp", "traces", "rasa",
           "convokit", "daic", "intercom")  # fmt: skip

TABLE_COLUMNS = ("person", "conversation", "turn", "role", "text", "time")

LABEL_COLUMNS = ("person", "time", "total", "instrument", *ITEM_COLUMNS)


@dataclass(frozen=True)
class ImportConfig:
    """How to read conversations and PHQ-9s."""

    format: str = setting("auto", "Layout of the source; auto looks and says what it saw.",
                          choices=FORMATS)  # fmt: skip
    mapping: Path | None = setting(None, "TOML mapping file of a survey (format survey).")
    phq9: Path | None = setting(None, "PHQ-9 labels: CSV, TSV, Parquet, or FHIR JSON or NDJSON.")
    column: tuple[str, ...] = setting(
        (), f"Column of a table as KIND=NAME; KIND is one of {', '.join(TABLE_COLUMNS)}."
    )
    phq9_column: tuple[str, ...] = setting(
        (), "Column of the label table as KIND=NAME; KIND is person, time, total, instrument "
        "or item_1 to item_9."
    )  # fmt: skip
    people_column: tuple[str, ...] = setting(
        (), "Column (or JSON key) that describes the person, kept in people.parquet."
    )
    role: tuple[str, ...] = setting(
        (), f"What a speaker is, as SPEAKER=ROLE; ROLE is one of {', '.join(ROLES)}."
    )
    person_role: str = setting("", "The speaker who is the person to be estimated.")
    role_key: str = setting(
        "", "JSON: the key of a message that says who speaks. ConvoKit: the metadata key."
    )
    person_key: str = setting("", "JSON: the key that holds the person's identifier.")
    person: str = setting(
        "", "The identifier of the one person whose conversations the whole source holds."
    )
    time_key: str = setting("", "JSON: the key of a message that says when it was said.")
    messages_key: str = setting(
        "", "JSON: the key of a conversation that holds its messages, where it has several lists."
    )
    text_key: str = setting("", "JSON: the key of a message that holds its words.")
    one_person_per_conversation: bool = setting(
        False, "Without person identifiers: take each conversation as one person."
    )
    similar_ids: str = setting(
        "ask",
        "Identifiers that differ only in case, by spaces or by a trailing .0: join takes them as "
        "one person, keep as several.",
        choices=("ask", "join", "keep"),
    )
    dialogues: str = setting(
        "ask",
        "A turn that holds a whole dialogue ('User: ... Bot: ...'): split makes turns of it, keep "
        "leaves it.",
        choices=("ask", "split", "keep"),
    )
    date_order: str = setting(
        "ask",
        "What 03/04/2024 means: dmy (3 April) or mdy (March 4).",
        choices=("ask", "dmy", "mdy"),
    )
    timezone: str = setting("", "Time zone of times that name none, such as Europe/Berlin.")
    instrument: str = setting(
        "auto",
        "Instrument of labels that name none; auto goes by the names of columns and the items.",
        choices=("auto", *INSTRUMENTS),
    )
    missing: tuple[str, ...] = setting(
        (), "A number in a label table that means no answer, such as -9 or 999."
    )
    item_coding: str = setting(
        "auto", "What answers count from: 0-3 or 1-4.", choices=("auto", "0-3", "1-4")
    )
    label_day: str = setting(
        "start",
        "Where in its day a PHQ-9 with a date but no time falls: start keeps that day's text "
        "out of its window, end takes it in.",
        choices=("start", "end"),
    )
    strip_annotations: bool = setting(
        False, "DAIC-WOZ: remove transcriber's marks such as <laughter> (recorded)."
    )
    max_turn_chars: int = setting(100_000, "A longer turn is refused as a likely mistake.")
    text_may_leave: bool = setting(
        False,
        "Record that text of this cohort may be sent to a provider that is named later.",
    )
    skip_bad: bool = setting(
        False, "Leave out bad rows instead of stopping; they are counted and listed."
    )

    def __post_init__(self) -> None:
        check_choices(self)
        pairs(self.column, "column", TABLE_COLUMNS)
        pairs(self.phq9_column, "phq9_column", LABEL_COLUMNS)
        self.roles()
        check_people_columns(self.people_column)
        if self.max_turn_chars < 1:
            raise LeadlineError(
                f"--max-turn-chars is {self.max_turn_chars}.", remedy="Use 1 or more."
            )
        if self.timezone:
            check_zone(self.timezone)

    def roles(self) -> dict[str, str]:
        """Speaker -> role, as given by `role` and `person_role`."""
        roles = {}
        for text in self.role:
            speaker, equals, role = text.rpartition("=")
            if not (equals and speaker) or role not in ROLES:
                raise LeadlineError(
                    f"--role {text!r} is not SPEAKER=ROLE.",
                    remedy=f"Write it as --role bot=assistant; ROLE is one of {', '.join(ROLES)}.",
                )
            roles[speaker] = role
        if self.person_role and roles.setdefault(self.person_role, "user") != "user":
            raise LeadlineError(
                f"--person-role {self.person_role!r} also has another role by --role.",
                remedy="Give that speaker one role only.",
            )
        return roles


def pairs(values: tuple[str, ...], name: str, kinds: tuple[str, ...]) -> dict[str, str]:
    """``("text=body",)`` -> ``{"text": "body"}``, checked against the known kinds."""
    columns: dict[str, str] = {}
    for value in values:
        kind, equals, column = value.partition("=")
        if not equals or not column or kind not in kinds or kind in columns:
            raise LeadlineError(
                f"{flag(name)} {value!r} is not KIND=NAME, or its kind is given twice.",
                remedy=f"Write it as {flag(name)} {kinds[0]}=NAME; "
                f"KIND is one of {', '.join(kinds)}.",
            )
        columns[kind] = column
    return columns


def check_people_columns(names: tuple[str, ...]) -> None:
    """Refuse names of people columns that the cohort's own columns already have."""
    if not names:
        return
    from leadline.tables import PEOPLE, PHQ9, TURNS

    clashes = sorted(set(names) & (set(PEOPLE) | set(TURNS) | set(PHQ9)))
    if clashes or len(set(names)) < len(names):
        raise LeadlineError(
            f"--people-column names a column twice or one that Leadline uses itself: {clashes}.",
            remedy="Rename that column in the source.",
        )


def check_zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        LeadlineError: no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise LeadlineError(
            f"There is no time zone {name!r}.",
            remedy="Give --timezone as an IANA name such as UTC or America/New_York.",
        ) from error
