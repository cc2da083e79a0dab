"""How far the anchors reach without a single label: r with the PHQ-9 total of the check-ins.

    python -m bench run accuracy.anchors_without_labels

The score of a person is the mean of the standardised projections on one voice's directions, or
on all of them; the PHQ-9s are looked at only to print the correlation.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from bench.accuracy.reader_layer_head import timeline
from bench.common import load_checkins
from bench.protocol import run_module
from leadline.cohort.windows import Span
from leadline.heads.design import Design
from leadline.readers.anchors import VOICES, anchor_names
from leadline.readers.config import ReaderConfig
from leadline.runs.state_source import StateSource

TAKES = "the check-ins, reader smollm2; minutes"
RESULT = "anchors_without_labels"
LAYERS = (16, 20, 22, 24, 26)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Project and correlate."""
    del args
    people = load_checkins()
    total = np.array([person.total for person in people])
    timelines = [timeline(person) for person in people]
    spans = [Span(row, 0, len(talk.user) - 1) for row, talk in enumerate(timelines)]
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
    return {"r": table}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The layer that the documents speak of."""
    r = results["r"]["smollm2:22"]
    figure = f"r {r['all']:.3f} (plain {r['plain']:.3f}, broad {r['broad']:.3f})"
    return [("anchors alone on the check-ins, no label, SmolLM2 layer 22", figure)]


if __name__ == "__main__":
    run_module()
