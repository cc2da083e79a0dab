"""`leadline train`: folds of people, a model for each, predictions for whoever was left out.

From top to bottom: the labelled readings, the folds, the states, one model a fold, the
out-of-fold predictions and those for the locked test people, the running estimates, and the
baselines on the same folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.artefact import sha256, write_manifest
from leadline.cohort.splits import person_folds, refuse_locked
from leadline.cohort.windows import Timeline, label_readings, running_starts, timelines
from leadline.config import WindowConfig
from leadline.dialogue.store import FILES, Cohort
from leadline.errors import LeadlineError
from leadline.estimator import distributed
from leadline.estimator.baselines import BASELINES, Readings, predict_baseline
from leadline.estimator.design import Design, PersonStates, Span, StateSource
from leadline.estimator.ensemble import AdaptedModel, Ensemble, Member, ledger_table
from leadline.estimator.fetch import is_fetched, reader_path
from leadline.estimator.frozen import CANDIDATES, NETWORK, Candidate, Rows, fit_frozen
from leadline.estimator.predictive import (
    Calibration,
    distribution_mean,
    distribution_quantile,
    fit_calibration,
)
from leadline.estimator.progress import progress_bar
from leadline.estimator.run import CHECKPOINT, open_source, run_directory, save_ensemble
from leadline.estimator.score import batched, mask_people, run_identity, running_estimates
from leadline.estimator.settings import ScoreConfig, TrainConfig
from leadline.evaluate.tables import PREDICTIONS

LOCKED_FOLD = -1
PREFIXES = 8
"""Readings of a label that end earlier, for the calibration of running estimates."""

GP_LABELS = 6000
"""Labels up to which the Gaussian process is offered: minutes and a few GB a fit there."""

PREFIX_SHARE = 0.25
"""Their joint weight in it; the whole window counts 1, for that is what is evaluated."""


@dataclass(frozen=True)
class Labelled:
    """The labelled people and their readings, locked people included.

    Attributes:
        people: timelines as they are read, one a person.
        readings: table of `cohort.windows.READINGS` with the column ``row``, the person's row.
        spans: the whole-window reading of each label, in the order of `readings`.
    """

    people: list[Timeline]
    readings: pl.DataFrame
    spans: list[Span]

    def rows(self, person_ids: set[str]) -> Ints:
        """Rows of `readings` of these people."""
        return np.flatnonzero(self.readings["person_id"].is_in(list(person_ids)).to_numpy())


def train_run(
    cohort: Cohort,
    out: Path,
    config: TrainConfig,
    window: WindowConfig,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> dict[str, Any]:
    """Train and write a run; return its manifest, or nothing in a process that writes nothing.

    Started by `torchrun` or `accelerate launch`, the processes train every fold together; the
    first writes (`distributed`).

    Args:
        cohort: people with conversations and PHQ-9s.
        out: the run directory; an unfinished run of the same settings goes on.
        config: what is trained.
        window: which text counts for which PHQ-9.
        overwrite: replace a finished run.
        home: where readers and states are kept.

    Raises:
        LeadlineError: too few labelled people, a reader that is not there, an occupied output,
            or several processes for a frozen reader.
    """
    _join(config)
    labelled = labelled_people(cohort, config, window)
    left_out = draw_folds(cohort, labelled, config)
    source = _readers(config, home)
    settings = {
        "train": asdict(config),
        "window": asdict(window),
        "inputs": cohort_hashes(cohort),
    }
    with run_directory(out, settings, overwrite) as run:
        states: list[PersonStates] | None
        if source is not None:
            ensemble, selection, states = _train_frozen(labelled, config, window, left_out, source)
        else:
            ensemble, selection, states = _train_adapted(labelled, config, left_out, run, home)
        if distributed.rank() == 0:
            save_ensemble(run, ensemble, config, window)
            counts = dict(labelled.readings.group_by("person_id").len().iter_rows())
            ledger_table(left_out, counts).write_parquet(run / "ledger.parquet")
        distributed.wait()
        predictions = [ensemble_predictions(ensemble, labelled, states, left_out)]
        estimates = labelled_estimates(ensemble, labelled, window, run)
        distributed.leave()  # what is left is for one process
        if not distributed.is_first():
            return {}
        if config.baselines:
            predictions += baseline_predictions(labelled, config, left_out, states, home)
        pl.concat(predictions).write_parquet(run / "predictions.parquet")
        estimates.write_parquet(run / "estimates.parquet")
        return _write_run_manifest(
            run, cohort, labelled, config, settings, selection=selection, ensemble=ensemble
        )


def _join(config: TrainConfig) -> None:
    if distributed.launched() > 1 and config.adapt == "frozen":
        raise LeadlineError(
            f"--adapt frozen in {distributed.launched()} processes.",
            remedy="Start it without torchrun: a frozen reader is read by one process.",
        )
    distributed.join()


def draw_folds(
    cohort: Cohort, labelled: Labelled, config: TrainConfig
) -> dict[str, dict[int, int]]:
    """Person -> repeat -> the fold that leaves the person out, for everyone who is not locked.

    Raises:
        LeadlineError: too few people for the folds.
    """
    open_readings = labelled.readings.filter(~pl.col("locked"))
    folds = [
        person_folds(open_readings, config.folds, config.seed + repeat)
        for repeat in range(config.repeats)
    ]
    refuse_locked(set(folds[0]), cohort, "training")
    return {person: {r: fold[person] for r, fold in enumerate(folds)} for person in folds[0]}


def _readers(config: TrainConfig, home: Path | None) -> StateSource | None:
    """The readers of frozen models, None for an adapted one, which must be there all the same."""
    if config.adapt == "frozen":
        return open_source(config, home=home)
    reader_path(config.reader, home=home)
    return None


def labelled_people(cohort: Cohort, config: TrainConfig, window: WindowConfig) -> Labelled:
    """Everyone with a label and text in its window, as read.

    Raises:
        LeadlineError: no such person, or labels of several instruments.
    """
    readings = label_readings(cohort, window)
    wanted = ["phq9", "phq8"] if config.include_phq8 else ["phq9"]
    kept = readings.filter(pl.col("instrument").is_in(wanted))
    if not kept.height:
        raise _no_labels(cohort, readings, window)
    names = set(kept["person_id"])
    people = mask_people([p for p in timelines(cohort) if p.person_id in names], window)
    row = {person.person_id: number for number, person in enumerate(people)}
    kept = kept.with_columns(pl.col("person_id").replace_strict(row).cast(pl.Int64).alias("row"))
    spans = [Span(*values) for values in kept.select("row", "first", "last").iter_rows()]
    return Labelled(people, kept, spans)


def _no_labels(cohort: Cohort, readings: pl.DataFrame, window: WindowConfig) -> LeadlineError:
    if not cohort.phq9.height:
        problem, remedy = "This cohort has no PHQ-9.", "Import it with --phq9."
    elif readings.height:
        found = ", ".join(sorted(set(readings["instrument"])))
        problem = f"Nobody has a PHQ-9 with text before it; the labels are {found}."
        remedy = "Use --include-phq8 to train on PHQ-8 totals."
    else:
        before = f"in the {window.days:g} days before it" if window.days else "before it"
        problem = f"No PHQ-9 has {window.min_turns} or more user turns {before}."
        remedy = "Look at the dates with: leadline inspect; widen --days (0 takes all text)."
    return LeadlineError(problem, remedy=remedy, file=cohort.path)


def cohort_hashes(cohort: Cohort) -> dict[str, str]:
    """SHA-256 of the cohort's tables; empty for one that was never written."""
    recorded = cohort.manifest.get("files", {})
    return {name: str(recorded[name]) for name in FILES if name in recorded}


def training_rows(
    labelled: Labelled,
    states: Sequence[PersonStates],
    source: StateSource,
    window: WindowConfig,
    config: TrainConfig,
) -> tuple[Rows, Ints]:
    """Every labelled reading and some of its prefixes, with the row of each one's label.

    A prefix ends at an earlier user turn of the same window and is read as a running estimate
    at that turn would be.
    """
    spans: list[Span] = []
    label_row: list[int] = []
    starts = {row: running_starts(labelled.people[row], window) for row in range(len(states))}
    for number, span in enumerate(labelled.spans):
        ends = np.unique(np.geomspace(1, span.last - span.first + 1, PREFIXES).astype(int))
        for length in ends[:-1]:
            end = span.first + int(length) - 1
            spans.append(Span(span.person, int(starts[span.person][end]), end))
            label_row.append(number)
        spans.append(span)
        label_row.append(number)
    owner = np.array(label_row)
    per_label = np.bincount(owner)
    final = np.append(owner[1:] != owner[:-1], True)
    totals = labelled.readings["total"].to_numpy().astype(np.float64)
    rows = Rows(
        design=Design.of(source, states, spans, config.pool),
        total=totals[owner],
        weight=np.ones(len(owner)),
        person=np.array([span.person for span in spans]),
        final=final,
        share=np.where(final, 1.0, PREFIX_SHARE / np.maximum(per_label[owner] - 1, 1)),
    )
    return rows, owner


def candidates_for(config: TrainConfig, labels: int) -> tuple[Candidate, ...]:
    """The closed-form candidates that the settings and the number of labels allow.

    Raises:
        LeadlineError: a Gaussian process is asked for, with more labels than it can take.
    """
    if config.head == "scalar":
        return (Candidate("ridge", apart=False, anchored=False),)
    if labels > GP_LABELS and config.fit == "gp":
        raise LeadlineError(
            f"--fit gp with {labels} labels: its cost grows with their cube.",
            remedy=f"Use --fit auto or ridge above {GP_LABELS} labels.",
        )
    if config.fit == "auto":
        return tuple(c for c in CANDIDATES if c.head != "gp" or labels <= GP_LABELS)
    return tuple(c for c in (*CANDIDATES, NETWORK) if c.head == config.fit)


def _train_frozen(
    labelled: Labelled,
    config: TrainConfig,
    window: WindowConfig,
    left_out: dict[str, dict[int, int]],
    source: StateSource,
) -> tuple[Ensemble, list[dict[str, Any]], list[PersonStates]]:
    with progress_bar("Reading") as advance:
        states = source.read(labelled.people, advance)
    rows, _ = training_rows(labelled, states, source, window, config)
    candidates = candidates_for(config, len(labelled.spans))
    members, selection = [], []
    with progress_bar("Fitting") as advance:
        for repeat in range(config.repeats):
            for fold in range(config.folds):
                train = _people_of(labelled, left_out, repeat, fold, inside=True)
                mine = rows.take(np.flatnonzero(np.isin(rows.person, train)))
                model, table = fit_frozen(
                    mine,
                    candidates,
                    inner_folds=config.inner_folds,
                    seed=config.seed + 1000 * repeat + fold,
                )
                members.append(Member(repeat, fold, model))
                selection += [
                    {
                        "repeat": repeat,
                        "fold": fold,
                        **row,
                        "chosen": row["candidate"] == model.candidate.name,
                    }
                    for row in table
                ]
                advance(len(members), config.repeats * config.folds)
    return Ensemble(tuple(members), left_out, source, config.pool), selection, states


def _people_of(
    labelled: Labelled, left_out: dict[str, dict[int, int]], repeat: int, fold: int, *, inside: bool
) -> Ints:
    """Rows of the training people of a fold's model (`inside`), or of those it left out."""
    return np.array(
        [
            row
            for row, person in enumerate(labelled.people)
            if person.person_id in left_out
            and (left_out[person.person_id][repeat] == fold) != inside
        ],
        dtype=np.int64,
    )


def _train_adapted(
    labelled: Labelled,
    config: TrainConfig,
    left_out: dict[str, dict[int, int]],
    run: Path,
    home: Path | None,
) -> tuple[Ensemble, list[dict[str, Any]], None]:
    from leadline.estimator.adapted import (
        SharedBase,
        StoredModel,
        raw_distributions,
        train_adapted,
    )

    totals = labelled.readings["total"].to_numpy().astype(np.float64)
    (run / CHECKPOINT).mkdir(exist_ok=True)
    places: dict[tuple[int, int], Path] = {}
    unseen: dict[tuple[int, int], tuple[Ints, Array, Array]] = {}
    words = labelled.readings["user_words"].to_numpy().astype(np.float64)
    for repeat in range(config.repeats):
        for fold in range(config.folds):
            train = set(_people_of(labelled, left_out, repeat, fold, inside=True).tolist())
            readings = [
                (span, totals[row], 1.0)
                for row, span in enumerate(labelled.spans)
                if span.person in train
            ]
            place = run / CHECKPOINT / f"repeat-{repeat}-fold-{fold}"
            model = train_adapted(
                config,
                labelled.people,
                readings,
                place,
                config.seed + 1000 * repeat + fold,
                home=home,
            )
            out = set(_people_of(labelled, left_out, repeat, fold, inside=False).tolist())
            rows = np.array([r for r, s in enumerate(labelled.spans) if s.person in out])
            mean, sd, _ = raw_distributions(
                model, labelled.people, [labelled.spans[r] for r in rows]
            )
            del model  # the next fold needs its room
            places[repeat, fold] = place
            unseen[repeat, fold] = (rows, mean, sd)
    members, base = [], SharedBase(home)
    for (repeat, fold), place in places.items():
        others = [unseen[key] for key in unseen if key[0] == repeat and key[1] != fold]
        rows, mean, sd = (np.concatenate(parts) for parts in zip(*others, strict=True))
        calibration: Calibration = fit_calibration(
            mean, sd, words[rows], totals[rows], np.ones(len(rows)), np.ones(len(rows), dtype=bool)
        )
        stored = StoredModel(place, base)
        adapted = AdaptedModel(stored, calibration, config.head == "scalar")
        members.append(Member(repeat, fold, adapted))
    return Ensemble(tuple(members), left_out, None, config.pool), [], None


def ensemble_predictions(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    left_out: dict[str, dict[int, int]],
    name: str = "leadline",
) -> pl.DataFrame:
    """Out-of-fold predictions by repeat, and those of the whole ensemble for locked people.

    Args:
        ensemble: models that left people out as `left_out` says.
        labelled: readings with gold labels, locked people included.
        states: turn states of `labelled.people`; None for adapted readers.
        left_out: person -> repeat -> fold that left the person out.
        name: what the table calls this model.
    """
    tables = []
    for repeat in sorted({member.repeat for member in ensemble.members}):
        members = tuple(m for m in ensemble.members if m.repeat == repeat)
        one = Ensemble(members, left_out, ensemble.source, ensemble.pool)
        rows = labelled.rows(set(left_out))
        folds = [left_out[name][repeat] for name in labelled.readings["person_id"].gather(rows)]
        tables.append(_predicted(one, labelled, states, rows, (name, repeat, folds)))
    locked = np.flatnonzero(labelled.readings["locked"].to_numpy())
    if len(locked):
        folds = [LOCKED_FOLD] * len(locked)
        tables.append(_predicted(ensemble, labelled, states, locked, (name, 0, folds)))
    return pl.concat(tables)


def _predicted(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    rows: Ints,
    about: tuple[str, int, list[int]],
) -> pl.DataFrame:
    name, repeat, folds = about
    spans = [labelled.spans[row] for row in rows]
    distribution = ensemble.distributions(labelled.people, states, spans)
    mean = distribution_mean(distribution)
    return prediction_table(name, labelled, rows, repeat, folds, mean, distribution)


def prediction_table(
    model: str,
    labelled: Labelled,
    rows: Ints,
    repeat: int,
    folds: Sequence[int],
    mean: Array,
    distribution: Array,
) -> pl.DataFrame:
    """Rows of `PREDICTIONS` for the labels at `rows`."""
    some = labelled.readings[rows.tolist()]
    table = some.select(
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
        pl.Series("median", distribution_quantile(distribution, 0.5)),
        pl.Series("distribution", distribution.tolist(), dtype=pl.List(pl.Float64)),
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
    """Predictions of every baseline on the same folds, tables of `PREDICTIONS`."""
    embeddings = _sentence_means(labelled, states, home)
    spans = [(span.person, span.first, span.last) for span in labelled.spans]
    readings = Readings.of(labelled.people, spans, embeddings)
    totals = labelled.readings["total"].to_numpy().astype(np.float64)
    names = [name for name in BASELINES if name != "minilm" or embeddings is not None]
    jobs = [(r, f) for r in range(config.repeats) for f in range(config.folds)]
    locked = np.flatnonzero(labelled.readings["locked"].to_numpy())
    tables = []
    person = np.array([span.person for span in labelled.spans])
    with progress_bar("Baselines") as advance:
        for step, (repeat, fold) in enumerate(jobs):
            train = np.flatnonzero(
                np.isin(person, _people_of(labelled, left_out, repeat, fold, inside=True))
            )
            test = np.flatnonzero(
                np.isin(person, _people_of(labelled, left_out, repeat, fold, inside=False))
            )
            for name in names:
                mean, shape = predict_baseline(
                    name, readings.take(train), totals[train], readings.take(test)
                )
                folds = [fold] * len(test)
                tables.append(prediction_table(name, labelled, test, repeat, folds, mean, shape))
            advance(step + 1, len(jobs))
        if len(locked):
            train = labelled.rows(set(left_out))
            for name in names:
                mean, shape = predict_baseline(
                    name, readings.take(train), totals[train], readings.take(locked)
                )
                folds = [LOCKED_FOLD] * len(locked)
                tables.append(prediction_table(name, labelled, locked, 0, folds, mean, shape))
    return tables


def _sentence_means(
    labelled: Labelled, states: list[PersonStates] | None, home: Path | None
) -> Array | None:
    """Mean MiniLM embedding of each reading; None if MiniLM is not on this machine."""
    from leadline.estimator.design import pool_states

    if states and "minilm" in states[0].views:
        return pool_states(states, labelled.spans, "minilm", "mean")
    if not is_fetched("minilm", home=home):
        return None
    with progress_bar("Reading (minilm baseline)") as advance:
        states = StateSource("minilm", home=home).read(labelled.people, advance)
    return pool_states(states, labelled.spans, "minilm", "mean")


def labelled_estimates(
    ensemble: Ensemble, labelled: Labelled, window: WindowConfig, run: Path
) -> pl.DataFrame:
    """Running estimates of the labelled people, each by models that never saw them."""
    plain = WindowConfig(**{**asdict(window), "mask_questionnaire": False})  # masked already
    model_id, size = run_identity(run), ScoreConfig().batch_people
    with progress_bar("Running estimates") as advance:
        tables = []
        for batch in batched(labelled.people, size):
            tables.append(running_estimates(ensemble, batch, plain, model_id))
            advance(min(len(tables) * size, len(labelled.people)), len(labelled.people))
    return pl.concat(tables)


def _write_run_manifest(
    run: Path,
    cohort: Cohort,
    labelled: Labelled,
    config: TrainConfig,
    settings: dict[str, Any],
    *,
    selection: list[dict[str, Any]],
    ensemble: Ensemble,
) -> dict[str, Any]:
    open_people = labelled.readings.filter(~pl.col("locked"))
    locked = labelled.readings.filter("locked")
    training = {
        "people trained on": str(open_people["person_id"].n_unique()),
        "PHQ-9s trained on": str(open_people.height),
        "locked test people": str(locked["person_id"].n_unique()),
        "reader": config.reader,
        "adaptation": config.adapt,
        "models in the ensemble": str(len(ensemble.members)),
        "folds": f"{config.folds} by person, {config.repeats} draw(s), seed {config.seed}",
        "text": f"the {settings['window']['days']:g} days before each PHQ-9"
        if settings["window"]["days"]
        else "all text before each PHQ-9",
    }
    files = ("predictions.parquet", "estimates.parquet", "ledger.parquet", "checkpoint/model.json")
    return write_manifest(
        run,
        kind="run",
        command="train",
        settings=settings,
        inputs=settings["inputs"],
        files={name: sha256(run / name) for name in files},
        simulated=cohort.simulated,
        training=training,
        selection=selection,
        reference_model="leadline",
        limit=cohort.manifest.get("limit"),
        readers=ensemble.source.identities if ensemble.source else {},
    )
