"""The tables of the store, for SQLite and PostgreSQL alike.

Times are whole microseconds since 1970-01-01 UTC. The ids of people are random. What a sender
gave in words (texts, names, identifiers of people, conversations and messages) is sealed, or kept
as a keyed hash where it must be found again: no table holds it in clear (`vault`).

An estimate is never changed but for `superseded_at`, a PHQ-9 but for `retracted_at`, and a message
but for `superseded_at`: what was known on any day can be rebuilt. `person_now` and `lane_entry`
are made from the other tables and may be made again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}  # Alembic alters what has a name, on both databases
METADATA = MetaData(naming_convention=CONVENTION)

ROW_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers INTEGER keys alone
PURPOSES = ("estimate", "show_text", "research", "train", "fhir")


def _id() -> Column[Any]:
    return Column("id", ROW_ID, primary_key=True, autoincrement=True)


def _person(**how: Any) -> Column[Any]:
    return Column("person_id", String(32), ForeignKey("person.id"), nullable=False, **how)


def _time(name: str, *, optional: bool = True) -> Column[Any]:
    return Column(name, BigInteger, nullable=optional)


setting = Table(
    "setting", METADATA,
    Column("name", String(40), primary_key=True),
    Column("value", String, nullable=False),
)  # fmt: skip

team = Table(
    "team", METADATA,
    _id(),
    Column("name_hash", LargeBinary(32), nullable=False, unique=True),
    Column("name_sealed", LargeBinary, nullable=False),
)  # fmt: skip

person = Table(
    "person", METADATA,
    Column("id", String(32), primary_key=True),
    Column("external_hash", LargeBinary(32), nullable=False, unique=True),
    Column("external_sealed", LargeBinary, nullable=False),
    Column("team_id", ROW_ID, ForeignKey("team.id")),
    _time("made_at", optional=False),
    Column("estimate_allowed", Boolean, nullable=False),  # as `consent` says
    Column("received", Integer, nullable=False, default=0),  # messages, each with its number
    Column("scored_upto", Integer, nullable=False, default=0),
    _time("read_again_from"),  # the earliest time at which what was read is no longer so
    Column("revision", Integer, nullable=False, default=0),
    Column("state_owner", String(32)),  # the folder of states that read them last
    Column("failed", String(200)),  # why they cannot be estimated: never words of theirs
    _time("refresh_due"),  # since when `person_now` is older than what it is made from
    _time("treatment_start"),
    Column("lease_owner", String(32)),
    Column("lease_epoch", Integer, nullable=False, default=0),
    Column("lease_until", BigInteger, nullable=False, default=0),
    _time("forgotten_at"),
)  # fmt: skip
HAS_WORK = (person.c.scored_upto < person.c.received) | person.c.read_again_from.is_not(None)
"""A person of whom something is not read: the queue is this, so nothing in it can be stuck."""
Index("ix_person_work", person.c.lease_until, person.c.id,
      sqlite_where=HAS_WORK, postgresql_where=HAS_WORK)  # fmt: skip
Index("ix_person_refresh", person.c.refresh_due, sqlite_where=person.c.refresh_due.is_not(None),
      postgresql_where=person.c.refresh_due.is_not(None))  # fmt: skip

person_key = Table(
    "person_key", METADATA,
    _person(primary_key=True),
    Column("wrapped_key", LargeBinary),  # null once destroyed
    Column("kek_id", String(16), nullable=False),
    _time("destroyed_at"),
)  # fmt: skip

message = Table(
    "message", METADATA,
    _person(primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("key_hash", LargeBinary(32), nullable=False),  # of source and the sender's id
    Column("body_hmac", LargeBinary(32), nullable=False),
    Column("conversation_hash", LargeBinary(16), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("role", String(12), nullable=False),
    _time("time", optional=False),
    _time("received_at", optional=False),
    Column("sealed_text", LargeBinary),  # null where the app keeps texts
    Column("sealed_key", LargeBinary),  # source and id, for an app that is asked for texts
    _time("superseded_at"),
    Column("superseded_by", Integer),  # null where it was taken back
    UniqueConstraint("key_hash"),
    CheckConstraint("role IN ('user', 'assistant', 'clinician', 'system')", name="role"),
)  # fmt: skip
Index("ix_message_time", message.c.person_id, message.c.time, message.c.turn, message.c.seq)

phq9 = Table(
    "phq9", METADATA,
    _id(),
    _person(index=True),
    Column("key_hash", LargeBinary(32), nullable=False, unique=True),
    Column("body_hmac", LargeBinary(32), nullable=False),
    _time("time", optional=False),
    _time("received_at", optional=False),
    Column("total", Float, nullable=False),
    Column("answers", String(9)),  # nine digits, "-" for one that was not answered
    Column("instrument", String(8), nullable=False),
    Column("prorated", Boolean, nullable=False),
    _time("retracted_at"),
    Column("ask_id", ROW_ID, ForeignKey("ask.id")),
    _time("seen_at"),  # item 9 of it was looked at
    Column("seen_by", String(32)),
    CheckConstraint("total >= 0 AND total <= 27", name="total"),
    CheckConstraint("instrument IN ('phq9', 'phq8')", name="instrument"),
)  # fmt: skip

run_model = Table(
    "run_model", METADATA,
    Column("model_id", String(80), primary_key=True),
    Column("run", String, nullable=False),  # the folder
    Column("status", String(8), nullable=False),
    Column("without_labels", Boolean, nullable=False),
    _time("since", optional=False),
    CheckConstraint("status IN ('live', 'shadow', 'retired')", name="status"),
)  # fmt: skip

estimate = Table(
    "estimate", METADATA,
    _person(primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("model_id", String(80), primary_key=True),
    Column("revision", Integer, primary_key=True),
    _time("time", optional=False),
    _time("made_at", optional=False),
    _time("superseded_at"),
    Column("distribution", LargeBinary(224), nullable=False),  # 28 float64, little-endian
    *(Column(name, Float, nullable=False) for name in (
        "mean", "variance", "median", "lower", "upper",
        "p_ge_5", "p_ge_10", "p_ge_15", "p_ge_20")),
    Column("increment", Float),
    Column("departure", Float),
    Column("window_turns", Integer, nullable=False),
    Column("window_words", Integer, nullable=False),
)  # fmt: skip

params = Table(
    "params", METADATA,
    Column("id", String(64), primary_key=True),
    Column("model_id", String(80), nullable=False),
    _time("made_at", optional=False),
    Column("people", Integer, nullable=False),  # 0: defaults
    Column("content", String, nullable=False),  # JSON
)  # fmt: skip

belief = Table(
    "belief", METADATA,
    _person(primary_key=True),
    Column("model_id", String(80), primary_key=True),
    Column("params_id", String(64), ForeignKey("params.id"), nullable=False),
    Column("day", Float, nullable=False),
    Column("reference_day", Float),
    Column("courses_at", Float),  # the day whose belief `course_day` was last written for
    Column("state", LargeBinary, nullable=False),
)  # fmt: skip

person_now = Table(
    "person_now", METADATA,
    _person(primary_key=True),
    Column("team_id", ROW_ID),
    Column("model_id", String(80), nullable=False),
    _time("at", optional=False),
    *(Column(name, Float) for name in (
        "mean", "lower", "upper", "sd", "p_ge_10", "p_ge_20", "p_worse", "p_better", "value")),
    Column("words_of_change", String(40)),
    Column("words", Integer),  # in the window of the last estimate
    Column("standing", String(24), nullable=False),
    _time("standing_since", optional=False),
    Column("standing_state", String, nullable=False),  # JSON of the machine's own memory
    _time("last_message_at"),
    _time("last_phq9_at"),
    Column("last_phq9_total", Float),
    _time("last_ask_at"),
    Column("reason", String(300)),
    Column("spark", String),
)  # fmt: skip

lane_entry = Table(
    "lane_entry", METADATA,
    Column("lane", String(12), primary_key=True),
    _person(primary_key=True),
    Column("team_id", ROW_ID),
    Column("rank", Float, nullable=False),
    CheckConstraint("lane IN ('item9', 'ask', 'changed', 'silent', 'everyone')", name="lane"),
)  # fmt: skip
Index("ix_lane_entry_team", lane_entry.c.lane, lane_entry.c.team_id, lane_entry.c.rank,
      lane_entry.c.person_id)  # fmt: skip
Index("ix_lane_entry_all", lane_entry.c.lane, lane_entry.c.rank, lane_entry.c.person_id)

course_day = Table(
    "course_day", METADATA,
    _person(primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("model_id", String(80), primary_key=True),
    *(Column(name, Float, nullable=False) for name in ("mean", "lower", "upper")),
)  # fmt: skip

ask = Table(
    "ask", METADATA,
    _id(),
    _person(index=True),
    _time("suggested_at"),
    Column("reason", String(300)),
    Column("value", Float),
    Column("drawn_at_random", Boolean, nullable=False, default=False),
    Column("propensity", Float),
    _time("asked_at"),
    Column("asked_by", String(32)),
    Column("channel", String(12)),
    _time("answered_at"),
    _time("declined_at"),
    _time("snoozed_until"),
    _time("ended_at"),  # answered, declined, or past its time
    CheckConstraint("channel IN ('app', 'call', 'visit', 'letter', 'other')", name="channel"),
)  # fmt: skip

hook_call = Table(
    "hook_call", METADATA,
    Column("phq9_id", ROW_ID, ForeignKey("phq9.id"), primary_key=True),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_until", BigInteger, nullable=False, default=0),
    _time("delivered_at"),
)  # fmt: skip

note = Table(
    "note", METADATA,
    _id(),
    _person(index=True),
    Column("by", String(32), nullable=False),
    _time("at", optional=False),
    Column("sealed_text", LargeBinary, nullable=False),
)  # fmt: skip

consent = Table(
    "consent", METADATA,
    _id(),
    _person(index=True),
    Column("purpose", String(12), nullable=False),
    _time("granted_at", optional=False),
    _time("withdrawn_at"),
    Column("sealed_version", LargeBinary),
    Column("sealed_evidence", LargeBinary),
    CheckConstraint("purpose IN ('estimate', 'show_text', 'research', 'train', 'fhir')",
                    name="purpose"),
)  # fmt: skip

actor = Table(
    "actor", METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("kind", String(8), nullable=False),
    _time("made_at", optional=False),
    _time("disabled_at"),
    CheckConstraint("kind IN ('machine', 'human')", name="kind"),
)  # fmt: skip

token = Table(
    "token", METADATA,
    Column("id", String(16), primary_key=True),
    Column("actor_id", String(32), ForeignKey("actor.id"), nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("scopes", String(120), nullable=False),
    Column("team_id", ROW_ID, ForeignKey("team.id")),
    _time("made_at", optional=False),
    _time("expires_at", optional=False),
    _time("last_used"),
    _time("revoked_at"),
)  # fmt: skip

credential = Table(
    "credential", METADATA,
    Column("actor_id", String(32), ForeignKey("actor.id"), primary_key=True),
    Column("password_hash", String(200), nullable=False),
    Column("sealed_totp", LargeBinary),
    _time("changed_at", optional=False),
    Column("failures", Integer, nullable=False, default=0),
    _time("locked_until"),
)  # fmt: skip

session = Table(
    "session", METADATA,
    Column("id_hash", LargeBinary(32), primary_key=True),
    Column("actor_id", String(32), ForeignKey("actor.id"), nullable=False),
    _time("made_at", optional=False),
    _time("last_used", optional=False),
    _time("expires_at", optional=False),
    _time("revoked_at"),
)  # fmt: skip

membership = Table(
    "membership", METADATA,
    Column("actor_id", String(32), ForeignKey("actor.id"), primary_key=True),
    Column("team_id", ROW_ID, ForeignKey("team.id"), primary_key=True),
    Column("role", String(12), primary_key=True),
)  # fmt: skip

audit_chain = Table(
    "audit_chain", METADATA,
    Column("chain", String(32), primary_key=True),
    _time("made_at", optional=False),
    Column("head", LargeBinary(32), nullable=False),
    Column("rows", BigInteger, nullable=False, default=0),
)  # fmt: skip

audit = Table(
    "audit", METADATA,
    Column("chain", String(32), ForeignKey("audit_chain.chain"), primary_key=True),
    Column("n", BigInteger, primary_key=True),
    _time("at", optional=False),
    Column("actor_id", String(32)),
    Column("action", String(40), nullable=False),
    Column("subject", String(32)),
    Column("request_id", String(32)),
    Column("outcome", String(12), nullable=False),
    Column("sealed_reason", LargeBinary),
    Column("detail", String),
    Column("prev", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    UniqueConstraint("chain", "prev"),
)  # fmt: skip
Index("ix_audit_subject", audit.c.subject, audit.c.at)

audit_checkpoint = Table(
    "audit_checkpoint", METADATA,
    _id(),
    _time("at", optional=False),
    Column("chain", String(32), ForeignKey("audit_chain.chain"), nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary, nullable=False),
)  # fmt: skip

audit_review = Table(
    "audit_review", METADATA,
    _id(),
    Column("reviewer", String(32), nullable=False),
    _time("first_at", optional=False),
    _time("last_at", optional=False),
    _time("at", optional=False),
    Column("finding", String(40), nullable=False),
)  # fmt: skip

drift_window = Table(
    "drift_window", METADATA,
    Column("day", Integer, primary_key=True),
    Column("model_id", String(80), primary_key=True),
    Column("figure", String(40), primary_key=True),
    Column("value", Float),
    Column("people", Integer, nullable=False),
    _time("made_at", optional=False),
)  # fmt: skip

night = Table(
    "night", METADATA,
    Column("day", Integer, primary_key=True),
    Column("step", String(20), primary_key=True),
    _time("ended_at", optional=False),
    Column("content", String, nullable=False),  # JSON: what it did, counts alone
)  # fmt: skip

forgotten = Table(
    "forgotten", METADATA,
    Column("external_hash", LargeBinary(32), primary_key=True),
    _time("at", optional=False),
)  # fmt: skip
