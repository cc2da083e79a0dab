"""What every importer hands over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leadline.sources.batch import RawTurnBatch
from leadline.sources.label import Label
from leadline.sources.people import PeopleColumns
from leadline.sources.roles import Roles


@dataclass
class Source:
    """A source, opened: raw turns to be drawn, and what is found on the way.

    Attributes:
        batches: raw turns. `labels` and `people` are complete when these are drawn.
        roles: who is what.
        people: what the source says about people.
        labels: PHQ-9s that the source itself holds.
        inputs: files that were read, for the manifest.
        shared_conversations: whether each row names its person and its conversation, so that the
            person of a row may be its author.
    """

    batches: Iterator[RawTurnBatch]
    roles: Roles
    people: PeopleColumns
    labels: list[Label] = field(default_factory=list)
    inputs: list[Path] = field(default_factory=list)
    shared_conversations: bool = False
