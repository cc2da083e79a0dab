"""A tiny cohort whose texts are numbers, and a reader that reads them: fits take milliseconds."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl

from leadline.artefact import sha256, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import write_cohort
from leadline.heads.design import PersonStates
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import LABELS, PHQ9, TURNS
from leadline.teacher.label import window_identity
from leadline.teacher.label_table import LABELS_FILE

START = datetime(2025, 3, 1, tzinfo=UTC)
WIDTH = 6


class NumberSource:
    """Implements what is used of `StateSource`: each turn's text is its state."""

    contextual = False

    def __init__(self) -> None:
        self.names, self.home = ("numbers",), None
        self.readers = [SimpleNamespace(identity="numbers")]
        self.views = {"numbers": (0, slice(None))}
        self.directions = {"numbers": np.eye(3, WIDTH)}
        self.identities = {"numbers": "numbers"}

    def read(self, people, progress=None):
        out = []
        for person in people:
            said = [person.messages[i].text.split() for i in person.user]
            states = np.array(said, dtype=np.float32)
            out.append(PersonStates({"numbers": states}, person.user_words()))
        return out


def severities(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True severity and states (count, turns, WIDTH) that tell of it."""
    random = np.random.default_rng(seed)
    truth = np.clip(random.normal(11, 5.5, count), 0, 27)
    loads = np.linspace(1.0, 0.2, WIDTH)
    signal = (truth[:, None] - 11) / 5.5 * loads
    # The error is the person's own, so more turns do not take it away.
    states = signal + random.normal(0, 1.3, (count, WIDTH))
    return truth, states[:, None, :] + random.normal(0, 0.2, (count, 2, WIDTH))


def make_cohort(path: Path, *, gold: int, unlabelled: int, locked: int, seed: int = 0):
    """Write a cohort and return the true severities by person id."""
    count = gold + unlabelled + locked
    truth, states = severities(count, seed)
    random = np.random.default_rng(seed + 1)
    ids = [f"p{number:04d}" for number in range(count)]
    turns, answers = [], []
    for number, name in enumerate(ids):
        for turn, state in enumerate(states[number]):
            when = START + timedelta(hours=turn)
            text = " ".join(f"{value:.3f}" for value in state)
            turns.append((name, f"{name}-1", turn, "user", text, when))
        if number < gold + locked:
            total = float(np.clip(round(truth[number] + random.normal(0, 2.0)), 0, 27))
            asked = START + timedelta(hours=5)
            shares = [(int(total) + place) // 9 for place in range(9)]  # nine that sum to it
            answers.append(
                {"person_id": name, "time": asked, "total": total, "instrument": "phq9"}
                | dict(zip(ITEM_COLUMNS, shares, strict=True))
            )
    write_cohort(
        path,
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(answers, schema=PHQ9),
        pl.DataFrame(
            {"person_id": ids, "locked": [gold <= i < gold + locked for i in range(count)]}
        ),
        command="test",
        settings={},
        inputs={},
    )
    return dict(zip(ids, truth, strict=True))


def make_labels(path: Path, truth: dict[str, float], locked: set[str], *, noise=3.0, bias=2.5,
                slope=0.6, ancestors=(), seed=5, cohort=None):  # fmt: skip
    """Two draws of a teacher for everyone who is not locked."""
    random = np.random.default_rng(seed)
    rows = []
    for name, severity in truth.items():
        shared = random.normal(0, noise)
        for draw in range(2):
            said = 11 + bias + slope * (severity - 11) + shared + random.normal(0, 1)
            row = dict.fromkeys(ITEM_COLUMNS) | {
                "person_id": name, "time": START, "first": 0, "last": 1, "source": "teacher",
                "round": 0, "model": "oracle", "draw": draw,
                "total": float(np.clip(round(said), 0, 27)), "weight": 1.0,
                "ancestors": [a for a in ancestors if a != name], "confidence": 1.0,
                "quotes": 0, "quotes_found": 0, "user_words": 12,
            }  # fmt: skip
            if name not in locked:
                rows.append(row)
    path.mkdir()
    pl.DataFrame(rows, schema=LABELS).write_parquet(path / LABELS_FILE)
    window = WindowConfig()
    write_manifest(
        path,
        kind="labels",
        command="test",
        settings={"window": asdict(window)},
        inputs={} if cohort is None else cohort.manifest["files"],
        files={LABELS_FILE: sha256(path / LABELS_FILE)},
        window_identity=window_identity(window),
    )
    return path
