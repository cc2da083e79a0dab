"""Baselines that a model has to beat, all fitted and chosen inside the training people.

`constant` knows only how the training people scored; `length` adds how much and when people
write; `assistant only` reads what the assistant said and nothing of the person, because a
model that does well on that has found the questionnaire or the clinician, not the symptoms;
`tf-idf` is the ridge on word and word-pair counts that everyone tries first, on stretches of
characters, or on both: which is chosen inside the training people, so that it serves scripts
without spaces too; `minilm` is a ridge on mean sentence embeddings.

Each is calibrated as the model is, and its interval is conformal: a model that has the better
interval, or the better probabilities, has them from what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leadline.arrays import Array, Ints
from leadline.cohort.splits import random_place
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.heads.calibration import (
    central_ranks,
    conformal_widths,
    fit_calibration,
    width_at,
)
from leadline.heads.candidates import PEOPLE_FOR_SELECTION
from leadline.heads.lexical import LexicalRidge, common_terms
from leadline.heads.terms import count_terms
from leadline.phq9.distribution import Totals
from leadline.phq9.items import TOTALS
from leadline.runs.config import INTERVAL

BASELINES = ("constant", "length", "assistant only", "tf-idf", "minilm")

STATE_PENALTIES = np.logspace(0, 5, 21)

TEXT_OF = {"assistant only": "heard_texts", "tf-idf": "user_texts"}  # what text baselines read

LOG_WORDS = 1  # column of `BaselineFeatures.counts`

NO_WORDS = "-"  # what a reading without any assistant turn is taken to say


@dataclass(frozen=True)
class BaselineFeatures:
    """What baselines see of R readings.

    Attributes:
        user_texts: the person's own words of each reading, length R.
        heard_texts: what the assistant said in between, length R.
        counts: numbers and times, shape (R, F); see `describe`.
        embeddings: mean sentence embeddings, shape (R, width), None without a sentence reader.
        terms: counts of the words and characters of the texts by the name of the baseline that
            reads them; counted when they are asked for where they are absent.
    """

    user_texts: npt.NDArray[np.object_]
    heard_texts: npt.NDArray[np.object_]
    counts: Array
    embeddings: Array | None
    terms: Mapping[str, csr_matrix] = field(default_factory=dict)

    def counted(self, name: str) -> csr_matrix:
        """Counts of the words and characters of what a text baseline reads, R rows."""
        return self.terms[name] if name in self.terms else count_terms(self.texts(name))

    def texts(self, name: str) -> list[str]:
        """What a text baseline reads, R texts."""
        return list(getattr(self, TEXT_OF[name]))

    @property
    def words(self) -> Array:
        """Words of the person in each reading, shape (R,)."""
        return np.expm1(self.counts[:, LOG_WORDS])

    def sentence_means(self) -> Array:
        """`embeddings`, which are there when this is asked for."""
        assert self.embeddings is not None, "asked for only with a sentence reader"
        return self.embeddings

    def take(self, rows: Ints) -> BaselineFeatures:
        """The readings at `rows`."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return BaselineFeatures(
            self.user_texts[rows],
            self.heard_texts[rows],
            self.counts[rows],
            embeddings,
            {name: counts[rows] for name, counts in self.terms.items()},
        )

    @classmethod
    def of(
        cls,
        people: Sequence[Timeline],
        spans: Sequence[Span],
        embeddings: Array | None,
    ) -> BaselineFeatures:
        """What is seen of the readings `spans` of `people`."""
        pairs = [reading_texts(people[span.person], span) for span in spans]
        counts = np.array([describe(people[span.person], span) for span in spans])
        user, others = ([pair[side] for pair in pairs] for side in (0, 1))
        bare = cls(_texts(user), _texts(others), counts, embeddings)
        return replace(bare, terms={name: bare.counted(name) for name in TEXT_OF})


def _texts(values: list[str]) -> npt.NDArray[np.object_]:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def reading_texts(person: Timeline, span: Span) -> tuple[str, str]:
    """The person's own words in the user turns of `span`, and the other words up to the last.

    What was said to the person before the first of the turns since their previous one counts
    as heard in this reading.
    """
    inside = person.slice(span.first, span.last)
    user = "\n".join(message.text for message in inside if message.role == "user")
    others = "\n".join(message.text for message in inside if message.role != "user")
    return user or NO_WORDS, others or NO_WORDS


def describe(person: Timeline, span: Span) -> list[float]:
    """Amounts and times of a reading: no word of it is looked at.

    Log turns, log words, words a turn and their spread, days covered, share of turns at
    night, conversations.
    """
    words = person.user_words()[span.turns].astype(np.float64)
    times = person.user_times[span.turns]
    dated_times = times[~np.isnat(times)]
    day = np.timedelta64(1, "D")
    covered = float((dated_times[-1] - dated_times[0]) / day) if len(dated_times) else 0.0
    hours = (dated_times - dated_times.astype("datetime64[D]")) / np.timedelta64(1, "h")
    night = float(np.mean((hours < 6) | (hours >= 23))) if len(dated_times) else 0.0
    talks = {person.conversation_ids[i] for i in person.user[span.turns]}
    return [
        np.log1p(len(words)),
        np.log1p(words.sum()),
        float(words.mean()),
        float(words.std()),
        covered,
        night,
        float(len(talks)),
    ]


@dataclass(frozen=True)
class BaselineEstimates:
    """What a baseline says of T readings.

    Attributes:
        mean: of each total, shape (T,).
        totals: distributions of the total.
        width: mass of the central interval that covers `runs.config.INTERVAL` of unseen people.
    """

    mean: Array
    totals: Totals
    width: float


def predict_constant(
    total: Array, person: npt.NDArray[np.str_], count: int, *, inner_folds: int = 5, seed: int = 0
) -> BaselineEstimates:
    """The totals of the training people as what is said of everybody, calibrated alike.

    Args:
        total: their gold totals, shape (R,).
        person: as of `predict_baseline`.
        count: how many readings are estimated.
        inner_folds: folds, by person, of the calibration.
        seed: of these folds.
    """
    order = np.argsort(person, kind="stable")
    total, person = total[order], person[order]
    folds = inner_person_folds(person, inner_folds, seed)
    chosen = np.flatnonzero(folds >= 0)
    ranks = np.zeros(len(total))
    for fold in range(int(folds.max()) + 1):
        out, inside = np.flatnonzero(folds == fold), chosen[folds[chosen] != fold]
        ranks[out] = central_ranks(histogram(total[inside], len(out)), total[out])
    width = width_at(INTERVAL, conformal_widths(ranks[chosen]))
    return BaselineEstimates(np.full(count, total.mean()), histogram(total, count), width)


def predict_baseline(
    name: str,
    train: BaselineFeatures,
    total: Array,
    person: npt.NDArray[np.str_],
    test: BaselineFeatures,
    *,
    inner_folds: int = 5,
    seed: int = 0,
) -> BaselineEstimates:
    """Fit and calibrate a baseline on `train`, and estimate `test`.

    It is calibrated as the model is (`heads.candidates.fit_frozen`): on cross-validated estimates
    inside the training people, of which as many take part, and its interval is conformal.

    Args:
        name: one of `BASELINES`.
        train: readings of the training people.
        total: their gold totals, shape (R,).
        person: id of the person of each, shape (R,); near-copies share one. What is estimated
            does not depend on the order of people.
        test: readings of other people, T of them.
        inner_folds: folds, by person, of the calibration.
        seed: of these folds.
    """
    if name in TEXT_OF and not _tell_apart(train.counted(name)):
        name = "constant"
    if name == "constant":
        count = len(test.user_texts)
        return predict_constant(total, person, count, inner_folds=inner_folds, seed=seed)
    order = np.argsort(person, kind="stable")
    train, total, person = train.take(order), total[order], person[order]
    folds = inner_person_folds(person, inner_folds, seed)
    chosen = np.flatnonzero(folds >= 0)
    mean, sd = np.zeros(len(total)), np.ones(len(total))
    for fold in range(int(folds.max()) + 1):
        out, inside = np.flatnonzero(folds == fold), chosen[folds[chosen] != fold]
        mean[out], sd[out] = _ridge(name, train.take(inside), total[inside], train.take(out))
    calibration = fit_calibration(
        mean[chosen], sd[chosen], train.words[chosen], total[chosen],
        np.ones(len(chosen)), np.ones(len(chosen), dtype=bool),
    )  # fmt: skip
    totals = calibration.distribution(*_ridge(name, train, total, test), test.words)
    return BaselineEstimates(totals.mean(), totals, calibration.width(INTERVAL))


def inner_person_folds(person: npt.NDArray[np.str_], folds: int, seed: int) -> Ints:
    """Fold of each reading for the calibration, whole persons together; -1 takes no part.

    At most `PEOPLE_FOR_SELECTION` people take part, as in the calibration of the model.
    """
    people, row = np.unique(person, return_inverse=True)
    order = sorted(range(len(people)), key=lambda at: random_place(seed, str(people[at])))
    fold = np.full(len(people), -1)
    part = order[:PEOPLE_FOR_SELECTION]
    fold[part] = np.arange(len(part)) % min(folds, len(part))
    return np.asarray(fold[row], dtype=np.int64)


def histogram(total: Array, count: int) -> Totals:
    """How `total` (R,) are spread, `count` times; none of the totals is impossible."""
    counts = np.bincount(np.rint(total).astype(int), minlength=TOTALS).astype(np.float64)
    share = (counts + 1.0 / TOTALS) / (counts.sum() + 1.0)
    return Totals(np.tile(share, (count, 1)))


def _ridge(
    name: str, train: BaselineFeatures, total: Array, test: BaselineFeatures
) -> tuple[Array, Array]:
    """Mean and deviation of each reading of `test` before calibration, each (T,)."""
    if name in TEXT_OF:
        return LexicalRidge.fit_counts(train.counted(name), total).predict_counts(
            test.counted(name)
        )
    model: Any = make_pipeline(StandardScaler(), RidgeCV(STATE_PENALTIES))
    x, z = (
        (train.counts, test.counts)
        if name == "length"
        else (train.sentence_means(), test.sentence_means())
    )
    model.fit(x, total)
    deviation = max(float(np.sqrt(-model[-1].best_score_)), 0.5)
    return np.asarray(model.predict(z), dtype=np.float64), np.full(len(z), deviation)


def _tell_apart(counts: csr_matrix) -> bool:
    """True if two texts share a term that others lack: else there is nothing to learn."""
    return len(common_terms(counts)[0]) > 0
