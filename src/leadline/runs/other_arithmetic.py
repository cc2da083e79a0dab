"""Score a run in another arithmetic than it was trained in, where that makes no difference.

A run keeps the arithmetic of its reader, because float32 and bfloat16 give states that differ by
rounding. Who trained where bfloat16 is fast and scores where it is slow may ask for float32. The
directions of the anchors are then still those of the run's own arithmetic: they are small
differences of means, and taken anew they would move every estimate by half a point. What is left
is compared on conversations of the anchor statements, and refused beyond `TOLERANCE`.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.readers.open import open_reader
from leadline.runs.check_talks import as_timeline, check_talks
from leadline.runs.checkpoint import reader_config
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.state_source import StateSource

TOLERANCE = 0.25
"""Points of the PHQ-9 by which an estimate may differ. Check-ins differed by .06 at most."""


def in_arithmetic(ensemble: Ensemble, train: TrainConfig, dtype: str) -> Ensemble:
    """The ensemble with its readers in the arithmetic `dtype`, held against its own.

    Args:
        ensemble: as it was loaded.
        train: the settings of its training.
        dtype: ``float32`` or ``bfloat16``.

    Raises:
        LeadlineError: the readers were adapted, or estimates differ by more than `TOLERANCE`.
    """
    if dtype == train.dtype:
        return ensemble
    if ensemble.source is None:
        raise LeadlineError(
            f"--dtype {dtype} with a run whose reader was adapted.",
            remedy="Leave out --dtype: an adapted reader computes as it was trained.",
        )
    if not ensemble.source.contextual:
        return ensemble  # sentence encoders compute in float32 anyway
    moved = replace(ensemble, source=_read_in(ensemble.source, train, dtype))
    apart = largest_difference(ensemble, moved)
    if not apart <= TOLERANCE:
        raise LeadlineError(
            f"In {dtype} this run's estimates differ by up to {apart:.2f} points from those in "
            f"{train.dtype}, in which it was trained; {TOLERANCE:g} are allowed.",
            remedy=f"Leave out --dtype, or train again with --dtype {dtype}.",
        )
    return moved


def largest_difference(first: Ensemble, second: Ensemble) -> float:
    """Points by which estimates of conversations of anchor statements differ at most."""
    people = [as_timeline(f"check {n}", talk) for n, talk in enumerate(check_talks())]
    spans = [Span(row, 0, len(person.user) - 1) for row, person in enumerate(people)]
    means = []
    for ensemble in (first, second):
        assert ensemble.source is not None, "frozen readers alone are compared"
        states = ensemble.source.read(people)
        means.append(ensemble.distributions(people, states, spans).mean())
    return float(np.abs(means[0] - means[1]).max())


def _read_in(source: StateSource, train: TrainConfig, dtype: str) -> StateSource:
    """The source with readers of another arithmetic, and the directions that it has."""
    config = reader_config(replace(train, dtype=dtype))
    moved = copy.copy(source)
    moved.readers = [open_reader(name, config=config, home=source.home) for name in source.names]
    return moved
