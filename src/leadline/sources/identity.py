"""Identifiers that differ only in how they are written: case, spaces, a trailing .0.

They are never joined unless the user says so: two people may differ in nothing but case.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError


def key_of(name: str) -> str:
    """What identifiers have in common that differ only in how they are written.

    >>> key_of(" P1") == key_of("p1"), key_of("7.0") == key_of("7")
    (True, True)
    """
    text = name if name.isascii() else unicodedata.normalize("NFKC", name)
    text = " ".join(text.split()).casefold()
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


@dataclass
class Identities:
    """People by their identifiers, and what is done about those that are alike.

    Attributes:
        mode: ``ask``, ``join`` or ``keep``, as `ImportConfig.similar_ids`.
        names: key -> the identifier that was met first.
        joined: identifiers that were taken for another.
    """

    mode: str
    names: dict[str, str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)

    def column(self, people: pl.Series) -> pl.Series:
        """A column of identifiers, alike ones as the first of them if they are joined."""
        if self.mode != "join":
            return people
        unique = people.drop_nulls().unique(maintain_order=True).to_list()
        return people.replace({name: self.one(name) for name in unique})

    def one(self, name: str) -> str:
        """The identifier under which a person is kept."""
        if self.mode != "join":
            return name
        first = self.names.setdefault(key_of(name), name)
        if first != name:
            self.joined.add(name)
        return first

    def check(self, people: Collection[str], file: Path) -> None:
        """Remember everybody; refuse identifiers that are alike, if nothing was said about them.

        Raises:
            LeadlineError: there are such; names how many.
        """
        if self.mode == "join":
            return
        for name in people:
            self.names.setdefault(key_of(name), name)
        alike = len(people) - len(self.names)
        if alike and self.mode == "ask":
            raise LeadlineError(
                f"{alike} person identifiers differ from another only in case, "
                "by spaces or by a trailing .0.",
                remedy="Give --similar-ids join if they are one person, or --similar-ids keep.",
                file=file,
            )
