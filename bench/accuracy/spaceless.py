"""The lexical baseline on the same people in a script without spaces.

Simulated people (`leadline demo`), 5 folds by person. Each word of theirs is mapped one to one
onto Chinese characters and the spaces are taken away: onto one character of its own, or onto two
out of a thousand, as most words of Chinese have two and share them with others. The baseline
(`tf-idf`: words, characters or both, chosen inside the training people) should not notice.

    python -m bench run accuracy.spaceless [--people 500]
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.common import figures, tell
from bench.protocol import run_module
from leadline.cli.demo import demo_settings
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.runs.baselines import BaselineFeatures, predict_baseline
from leadline.runs.config import TrainConfig
from leadline.runs.labelled import draw_folds, labelled_people
from leadline.simulate.cohort import simulate_cohort

TAKES = "half a minute"
RESULT = "spaceless"
FOLDS = 5
FIRST_HAN = 0x4E00
SHARED = 1_000  # characters that words of two are made of
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
FORMS = ("original", "one character a word", "two characters a word")


def options(parser: argparse.ArgumentParser) -> None:
    """How many people, and their seed."""
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)


class Script:
    """Words in a script without spaces, each always the same."""

    def __init__(self, characters: int, seed: int = 0) -> None:
        self.characters = characters
        self.known: dict[str, str] = {}
        size = SHARED**characters if characters > 1 else 20_000
        self.codes = np.random.default_rng(seed).permutation(size)

    def word(self, word: str) -> str:
        """The characters of a word."""
        if word not in self.known:
            code = int(self.codes[len(self.known)])
            places = [code] if self.characters == 1 else divmod(code, SHARED)
            self.known[word] = "".join(chr(FIRST_HAN + place) for place in places)
        return self.known[word]

    def text(self, text: str) -> str:
        """A text with its words mapped and its spaces taken away."""
        mapped = WORD.sub(lambda match: self.word(match[0]), text.lower())
        return "".join(mapped.split())


def in_script(cohort: Cohort, characters: int) -> Cohort:
    """The cohort with every word mapped one to one."""
    script = Script(characters)
    texts = [script.text(text) for text in cohort.turns["text"]]
    return replace(cohort, turns=cohort.turns.with_columns(text=pl.Series(texts)))


def out_of_fold(cohort: Cohort, fold: dict[str, dict[int, int]]) -> dict[str, float]:
    """Figures of the baseline for people whom it was not fitted on."""
    labelled = labelled_people(cohort, TrainConfig(), WindowConfig())
    features = BaselineFeatures.of(labelled.people, labelled.spans, None)
    total = labelled.readings["total"].to_numpy().astype(float)
    person = labelled.readings["person_id"].to_numpy().astype(str)
    folds = np.array([fold[name][0] if name in fold else -1 for name in person])
    mean = np.zeros(len(total))
    for number in range(FOLDS):
        inside = np.flatnonzero((folds != number) & (folds >= 0))
        out = np.flatnonzero(folds == number)
        estimates = predict_baseline(
            "tf-idf", features.take(inside), total[inside], person[inside], features.take(out)
        )
        mean[out] = estimates.mean
    return figures(total[folds >= 0], mean[folds >= 0])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The baseline on the people as they are and in both forms of the script."""
    with tempfile.TemporaryDirectory() as folder:
        settings = demo_settings(args.people, args.seed)
        cohort = simulate_cohort(Path(folder) / "cohort", settings)
        labelled = labelled_people(cohort, TrainConfig(), WindowConfig())
        folds = draw_folds(cohort, labelled, TrainConfig(folds=FOLDS, seed=args.seed))
        forms = {}
        for name, characters in zip(FORMS, (0, 1, 2), strict=True):
            people = in_script(cohort, characters) if characters else cohort
            forms[name] = out_of_fold(people, folds)
            tell(f"{name}: {forms[name]}")
    return {"people": args.people, "folds": FOLDS, "forms": forms}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """R of each form and its difference from the original."""
    original = results["forms"][FORMS[0]]["r"]
    people = f"{results['people']} simulated people"
    return [
        (
            f"lexical baseline, {people}: {name}",
            f"r {entry['r']:.3f} ({entry['r'] - original:+.3f})",
        )
        for name, entry in results["forms"].items()
    ]


if __name__ == "__main__":
    run_module()
