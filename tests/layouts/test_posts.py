"""Who of the authors is the person."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import LeadlineError
from leadline.importing.spool import clean
from leadline.layouts.posts import Post, Room, read_posts
from leadline.sources.config import ROLES, ImportConfig
from leadline.sources.rejects import RejectedRows

FILE = Path("x.json")


def read(*posts: Post, ledger: RejectedRows | None = None, **settings: object) -> list[tuple]:
    config = ImportConfig(**settings)  # type: ignore[arg-type]
    ledger = ledger or RejectedRows()
    source = read_posts(FILE, [Room("room 1", "r", list(posts))], config, ledger)
    (batch,) = source.batches
    rows = clean(batch, source.roles, config, ledger)
    return [(row["person"], ROLES[row["role"]]) for row in rows.iter_rows(named=True)]


def post(author: str, name: str = "", bot: bool | None = None, text: str = "x") -> Post:
    return Post("1", author, name or author, text, None, bot)


def test_the_only_one_who_is_no_bot_is_the_person() -> None:
    assert read(post("7", "Anna"), post("8", "Calm", True)) == [("7", "user"), ("7", "assistant")]


def test_a_name_or_a_number_may_be_given() -> None:
    posts = (post("7", "Anna"), post("8", "Ben"))
    for name in ("Anna", "7"):
        assert read(*posts, person_role=name, role=("Ben=clinician",)) == [
            ("7", "user"), ("7", "clinician")
        ]  # fmt: skip


def test_others_beside_a_named_person_are_asked_about() -> None:
    with pytest.raises(LeadlineError, match="not clear what 1 authors"):
        read(post("7", "Anna"), post("8", "Ben"), person_role="Anna")


def test_notices_and_deleted_posts_are_counted() -> None:
    ledger = RejectedRows()
    rows = read(post("7", "Anna"), post("", text="notice"), post("7", "Anna", text="[deleted]"),
                ledger=ledger)  # fmt: skip
    assert len(rows) == 1
    assert sum(ledger.account.omitted.values()) == 2
    assert ledger.account.arrived == 3


@pytest.mark.parametrize(
    ("settings", "person"), [({"person": "p"}, "p"), ({"one_person_per_conversation": True}, "r")]
)
def test_the_person_may_be_given_or_the_room(settings: dict[str, object], person: str) -> None:
    assert read(post("7", "Anna"), post("8", "Calm", True), **settings)[0][0] == person
