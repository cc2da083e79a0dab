"""Anchor scores: where a text lies between absence and presence of each symptom.

Each symptom has statements of both kinds (`anchors.toml`). A reader's state of a statement,
read as the answer to a neutral question, minus that of its counterpart gives a direction of
severity in the reader's own state space, with no label at all. The score of a reading is the
projection of its pooled state on that direction: linear, so the scores of turns average to
the score of their mean.

The idea is that of anchor vectors and contrastive directions for representations (Kozlowski
et al. 2019 for embeddings; Zou et al. 2023 for language models), used here as the prior mean
of a regression. On the check-ins the mean of the projections reaches r .735 without any label
(layer 22 of SmolLM2, `bench/accuracy/anchors_without_labels.py`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from leadline.arrays import Array
from leadline.cohort.timeline import Message
from leadline.readers.protocol import Reader
from leadline.readers.state_cache import StateCache, cached_states

VOICES = ("plain", "broad")


@dataclass(frozen=True)
class Anchor:
    """One statement: which direction it belongs to, whether the symptom is there, its text."""

    direction: str  # voice.symptom
    present: bool
    question: str
    statement: str


@cache
def anchor_statements() -> tuple[int, tuple[Anchor, ...]]:
    """Version of the statements, and each of them after each of its voice's questions."""
    text = files("leadline.readers").joinpath("anchors.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    anchors = tuple(
        Anchor(f"{voice}.{symptom}", kind == "present", question, statement)
        for voice in VOICES
        for symptom, kinds in table[voice].items()
        for kind in ("absent", "present")
        for statement in kinds[kind]
        for question in table["questions"][voice]
    )
    return int(table["version"]), anchors


def anchor_names() -> tuple[str, ...]:
    """Directions in the order of the columns of anchor scores."""
    return tuple(dict.fromkeys(anchor.direction for anchor in anchor_statements()[1]))


def anchor_directions(reader: Reader, cache: StateCache | None = None) -> Array:
    """Direction from absence to presence, shape (directions, reader.width)."""
    _, anchors = anchor_statements()
    talks = [[Message("assistant", a.question), Message("user", a.statement)] for a in anchors]
    states = np.stack([state[0] for state in cached_states(reader, talks, cache)])
    direction = np.array([anchor.direction for anchor in anchors])
    present = np.array([anchor.present for anchor in anchors])
    return np.stack(
        [
            states[(direction == name) & present].mean(0, dtype=np.float64)
            - states[(direction == name) & ~present].mean(0, dtype=np.float64)
            for name in anchor_names()
        ]
    )
