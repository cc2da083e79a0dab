"""Baselines that a model has to beat, all fitted and chosen inside the training people.

`constant` knows only how the training people scored; `length` adds how much and when people
write; `assistant only` reads what the assistant said and nothing of the person, because a
model that does well on that has found the questionnaire or the clinician, not the symptoms;
`tf-idf` is the ridge on word and word-pair counts that everyone tries first; `minilm` is a
ridge on mean sentence embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leadline.arrays import Array, Ints
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.phq9.distribution import Totals
from leadline.phq9.items import TOTALS

BASELINES = ("constant", "length", "assistant only", "tf-idf", "minilm")

TEXT_PENALTIES = np.logspace(-1, 1.5, 11)

STATE_PENALTIES = np.logspace(0, 5, 21)

NO_WORDS = "-"  # what a reading without any assistant turn is taken to say


@dataclass(frozen=True)
class BaselineFeatures:
    """What baselines see of R readings.

    Attributes:
        user_texts: the person's own words of each reading, length R.
        heard_texts: what the assistant said in between, length R.
        counts: numbers and times, shape (R, F); see `describe`.
        embeddings: mean sentence embeddings, shape (R, width), None without a sentence reader.
    """

    user_texts: npt.NDArray[np.object_]
    heard_texts: npt.NDArray[np.object_]
    counts: Array
    embeddings: Array | None

    def take(self, rows: Ints) -> BaselineFeatures:
        """The readings at `rows`."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return BaselineFeatures(
            self.user_texts[rows], self.heard_texts[rows], self.counts[rows], embeddings
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
        return cls(_texts(user), _texts(others), counts, embeddings)


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


def predict_baseline(
    name: str, train: BaselineFeatures, total: Array, test: BaselineFeatures
) -> tuple[Array, Totals]:
    """Fit a baseline on `train` and estimate `test`.

    Args:
        name: one of `BASELINES`.
        train: readings of the training people.
        total: their gold totals, shape (R,).
        test: readings of other people, T of them.

    Returns:
        Means, shape (T,), and T distributions of the total.
    """
    if name in ("assistant only", "tf-idf") and not _word_in_two(
        train.heard_texts if name == "assistant only" else train.user_texts
    ):
        name = "constant"
    if name == "constant":
        counts = np.bincount(np.rint(total).astype(int), minlength=TOTALS) + 1.0 / TOTALS
        share = counts / counts.sum()
        size = len(test.user_texts)
        return np.full(size, total.mean()), Totals(np.tile(share, (size, 1)))
    model: Any
    x: npt.NDArray[Any]
    z: npt.NDArray[Any]
    if name == "length":
        model = make_pipeline(StandardScaler(), RidgeCV(STATE_PENALTIES))
        x, z = train.counts, test.counts
    elif name == "minilm":
        assert train.embeddings is not None, "asked for only with a sentence reader"
        assert test.embeddings is not None, "asked for only with a sentence reader"
        model = make_pipeline(StandardScaler(), RidgeCV(STATE_PENALTIES))
        x, z = train.embeddings, test.embeddings
    else:
        model = make_pipeline(_vectoriser(), RidgeCV(TEXT_PENALTIES))
        x, z = (
            (train.heard_texts, test.heard_texts)
            if name == "assistant only"
            else (train.user_texts, test.user_texts)
        )
    model.fit(x, total)
    mean = np.clip(model.predict(z), 0.0, TOTALS - 1.0)
    deviation = float(np.sqrt(-model[-1].best_score_))
    return mean, Totals.normal(mean, np.full(len(mean), max(deviation, 0.5)))


def _vectoriser() -> TfidfVectorizer:
    """Words and word pairs that two readings share, weighted by TF-IDF."""
    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b"
    )


def _word_in_two(texts: npt.NDArray[np.object_]) -> bool:
    """True if the texts differ and two of them share a word: else there is nothing to learn."""
    analyse = _vectoriser().build_analyzer()
    vocabulary: set[str] = set()
    shared = False
    for text in texts:
        words = set(analyse(text))
        shared = shared or not vocabulary.isdisjoint(words)
        vocabulary |= words
    return shared and len(set(texts)) > 1
