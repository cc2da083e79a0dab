"""How far the anchors reach without a single label: r with the PHQ-9 total of the check-ins.

    python bench/anchors_without_labels.py

The score of a person is the mean of the standardised projections on one voice's directions, or
on all of them; the PHQ-9s are looked at only to print the correlation.
"""

from __future__ import annotations

import numpy as np

from checkins import load_checkins, save
from checkins_table import timeline
from leadline.cohort.windows import Span
from leadline.heads.design import Design
from leadline.readers.anchors import VOICES, anchor_names
from leadline.readers.config import ReaderConfig
from leadline.runs.state_source import StateSource

LAYERS = (16, 20, 22, 24, 26)


def main() -> None:
    """Project, correlate, save."""
    people = load_checkins()
    total = np.array([person.total for person in people])
    timelines = [timeline(person) for person in people]
    spans = [Span(row, 0, len(one.user) - 1) for row, one in enumerate(timelines)]
    source = StateSource("smollm2", ReaderConfig(layers=LAYERS))
    design = Design.of(source.directions, source.read(timelines), spans, "mean")
    names = np.array(anchor_names())
    table = {}
    for view, scores in design.anchors.items():
        z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
        kinds = {voice: np.char.startswith(names, voice) for voice in VOICES}
        kinds["all"] = np.ones(len(names), dtype=bool)
        table[view] = {
            kind: round(float(np.corrcoef(z[:, mask].mean(axis=1), total)[0, 1]), 3)
            for kind, mask in kinds.items()
        }
    save("anchors_without_labels", {"r": table})
    print(table)


if __name__ == "__main__":
    main()
