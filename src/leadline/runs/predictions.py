"""Predictions for whoever a model never saw, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.heads.design import PersonStates
from leadline.phq9.distribution import Totals
from leadline.progress import progress_bar
from leadline.readers.fetch import is_fetched
from leadline.runs.baselines import BASELINES, BaselineFeatures, predict_baseline
from leadline.runs.checkpoint import run_identity
from leadline.runs.config import BATCH_PEOPLE, INTERVAL, TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.estimates import batched, running_estimates
from leadline.runs.forecast import read_people
from leadline.runs.labelled import Labelled, people_of_fold
from leadline.runs.state_source import StateSource
from leadline.tables import PREDICTIONS, check_estimates
from leadline.threads import one_thread

NO_FOLD = -1


def ensemble_predictions(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    left_out: dict[str, dict[int, int]],
    name: str = "leadline",
) -> pl.DataFrame:
    """Out-of-fold predictions by repeat; none of the locked people, whose test stays closed.

    Args:
        ensemble: models that left people out as `left_out` says.
        labelled: readings with gold labels, locked people included.
        states: turn states of `labelled.people`; None for adapted readers.
        left_out: person -> repeat -> fold that left the person out.
        name: what the table calls this model.
    """
    tables = []
    rows = labelled.rows(set(left_out))
    for repeat in sorted({member.repeat for member in ensemble.members}):
        members = tuple(m for m in ensemble.members if m.repeat == repeat)
        repeat_ensemble = Ensemble(members, left_out, ensemble.source, ensemble.pool)
        folds = [left_out[person][repeat] for person in labelled.readings["person_id"].gather(rows)]
        tables.append(_predicted(repeat_ensemble, labelled, states, rows, (name, repeat, folds)))
    return pl.concat(tables)


def whole_predictions(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    rows: Ints,
    name: str = "leadline",
) -> pl.DataFrame:
    """Predictions at `rows` by all models of the ensemble that never saw the person.

    As a deployed run estimates them. Their fold is `NO_FOLD`, their repeat 0.
    """
    folds = [NO_FOLD] * len(rows)
    return _predicted(ensemble, labelled, states, rows, (name, 0, folds))


def _predicted(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    rows: Ints,
    origin: tuple[str, int, list[int]],
) -> pl.DataFrame:
    name, repeat, folds = origin
    spans = [labelled.spans[row] for row in rows]
    totals = ensemble.distributions(labelled.people, states, spans)
    width = ensemble.widths(INTERVAL, [labelled.people[span.person].person_id for span in spans])
    return prediction_table(name, labelled, rows, repeat, folds, totals.mean(), totals, width)


def prediction_table(
    model: str,
    labelled: Labelled,
    rows: Ints,
    repeat: int,
    folds: Sequence[int],
    mean: Array,
    totals: Totals,
    width: float | Array = INTERVAL,
) -> pl.DataFrame:
    """Rows of `PREDICTIONS` for the labels at `rows`.

    `width` is the mass of the central interval that is delivered, of all or of each; what is
    left as it is takes the distribution at its word.
    """
    lower, upper = totals.delivered_interval(width)
    readings = labelled.readings[rows.tolist()]
    table = readings.select(
        pl.lit(model).alias("model"),
        pl.lit(repeat).cast(pl.Int16).alias("repeat"),
        pl.Series("fold", folds, dtype=pl.Int16),
        pl.when("locked").then(pl.lit("locked")).otherwise(pl.lit("out-of-fold")).alias("split"),
        "person_id",
        "label",
        "time",
        "total",
        "instrument",
        pl.Series("mean", mean),
        pl.Series("median", totals.median()),
        pl.Series("distribution", totals.rows(), dtype=pl.List(pl.Float64)),
        pl.Series("lower", lower),
        pl.Series("upper", upper),
        "user_turns",
        "user_words",
    )
    typed: pl.DataFrame = table.select(pl.col(n).cast(kind) for n, kind in PREDICTIONS.items())
    return typed


def baseline_predictions(
    labelled: Labelled,
    config: TrainConfig,
    left_out: dict[str, dict[int, int]],
    states: list[PersonStates] | None,
    home: Path | None,
) -> list[pl.DataFrame]:
    """Out-of-fold predictions of every baseline on the same folds, tables of `PREDICTIONS`."""
    fitted = _Baselines.of(labelled, config, states, home)
    jobs = [(r, f) for r in range(config.repeats) for f in range(config.folds)]
    tables = []
    person = np.array([span.person for span in labelled.spans])
    with progress_bar("Baselines") as advance, one_thread(len(person)):
        for step, (repeat, fold) in enumerate(jobs):
            train, test = (
                np.flatnonzero(
                    np.isin(person, people_of_fold(labelled, left_out, repeat, fold, inside=inside))
                )
                for inside in (True, False)
            )
            tables += fitted.predicted(train, test, (repeat, [fold] * len(test)))
            advance(step + 1, len(jobs))
    return tables


def locked_baselines(
    labelled: Labelled,
    config: TrainConfig,
    left_out: dict[str, dict[int, int]],
    states: list[PersonStates] | None,
    home: Path | None,
) -> list[pl.DataFrame]:
    """Predictions of every baseline for the locked people, each fitted on all training people."""
    train = labelled.rows(set(left_out))
    locked = np.flatnonzero(labelled.readings["locked"].to_numpy())
    fitted = _Baselines.of(labelled, config, states, home)
    return fitted.predicted(train, locked, (0, [NO_FOLD] * len(locked)))


@dataclass(frozen=True)
class _Baselines:
    """What baselines see of every labelled reading, and which baselines there are.

    Attributes:
        labelled, config: people, and folds inside the training people.
        readings, gold: features and totals of each label, in the order of `labelled.readings`.
        person: id of the person of each; near-copies share one.
        names: of the baselines.
    """

    labelled: Labelled
    config: TrainConfig
    readings: BaselineFeatures
    gold: Array
    person: npt.NDArray[np.str_]
    names: list[str]

    @classmethod
    def of(
        cls,
        labelled: Labelled,
        config: TrainConfig,
        states: list[PersonStates] | None,
        home: Path | None,
    ) -> _Baselines:
        """Those that this machine can make: one needs MiniLM."""
        embeddings = _sentence_means(labelled, states, home)
        ids = labelled.readings["person_id"].to_list()
        return cls(
            labelled,
            config,
            BaselineFeatures.of(labelled.people, labelled.spans, embeddings),
            labelled.readings["total"].to_numpy().astype(np.float64),
            np.array([labelled.groups.get(name, name) for name in ids], dtype=np.str_),
            [name for name in BASELINES if name != "minilm" or embeddings is not None],
        )

    def predicted(
        self, train: Ints, test: Ints, origin: tuple[int, list[int]]
    ) -> list[pl.DataFrame]:
        """Predictions of each baseline at the labels `test`; `origin` is their repeat and folds."""
        repeat, folds = origin
        tables = []
        for name in self.names:
            estimates = predict_baseline(
                name,
                self.readings.take(train),
                self.gold[train],
                self.person[train],
                self.readings.take(test),
                inner_folds=self.config.inner_folds,
                seed=self.config.seed,
            )
            mean, totals, width = estimates.mean, estimates.totals, estimates.width
            tables.append(
                prediction_table(name, self.labelled, test, repeat, folds, mean, totals, width)
            )
        return tables


def _sentence_means(
    labelled: Labelled, states: list[PersonStates] | None, home: Path | None
) -> Array | None:
    """Mean MiniLM embedding of each reading; None if MiniLM is not on this machine."""
    from leadline.heads.design import pool_states

    if states and "minilm" in states[0].views:
        return pool_states(states, labelled.spans, "minilm", "mean")
    if not is_fetched("minilm", home=home):
        return None
    states = read_people(
        StateSource("minilm", home=home), labelled.people, "Reading (minilm baseline)"
    )
    return pool_states(states, labelled.spans, "minilm", "mean")


def labelled_estimates(
    ensemble: Ensemble, labelled: Labelled, window: WindowConfig, run: Path
) -> pl.DataFrame:
    """Running estimates of the people who train, each by models that never saw them."""
    people = [
        person
        for person in labelled.people
        if person.person_id in ensemble.left_out and ensemble.members_for(person.person_id)
    ]
    # The timelines are masked already.
    window_without_mask = WindowConfig(**{**asdict(window), "mask_questionnaire": False})
    model_id, size = run_identity(run), BATCH_PEOPLE
    with progress_bar("Running estimates", "people") as advance:
        tables: list[pl.DataFrame] = []
        for batch in batched(people, size):
            table = running_estimates(ensemble, batch, window_without_mask, model_id)
            check_estimates(table, run / "estimates.parquet", part=f"part {len(tables)}")
            tables.append(table)
            advance(min(len(tables) * size, len(people)), len(people))
    return pl.concat(tables)
