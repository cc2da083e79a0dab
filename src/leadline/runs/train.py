"""`leadline train`: folds of people, a model for each, predictions for whoever was left out.

From top to bottom: the labelled readings, the folds, the states, one model a fold, the
out-of-fold predictions, the running estimates, and the baselines on the same folds. The locked
test people are estimated when their test is opened (`locked_test`), not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import processes
from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.questionnaire import check_questionnaires
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.heads.calibration import Calibration, fit_calibration
from leadline.heads.candidates import (
    CANDIDATES,
    NETWORK,
    Candidate,
    LabelledReadings,
    fit_frozen,
)
from leadline.heads.design import PersonStates
from leadline.heads.prior import AnchorPrior
from leadline.progress import progress_bar
from leadline.readers.fetch import reader_path
from leadline.runs.checkpoint import CHECKPOINT, open_source, save_ensemble, settled
from leadline.runs.config import TrainConfig
from leadline.runs.directory import run_directory
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.forecast import read_people
from leadline.runs.labelled import (
    Labelled,
    Readings,
    TrainingLabel,
    cohort_hashes,
    draw_folds,
    keep_drawn_folds,
    labelled_people,
    people_of_fold,
    readings_of_every_length,
    training_rows,
)
from leadline.runs.ledger import ledger_table
from leadline.runs.manifest import model_facts, write_run_manifest
from leadline.runs.predictions import baseline_predictions, ensemble_predictions, labelled_estimates
from leadline.runs.prior import load_prior
from leadline.runs.profiles import write_profiles
from leadline.runs.questionnaire import masked_predictions
from leadline.runs.state_source import WORDS, StateSource

SHARED = (
    "adapt",
    *(f.name for f in fields(TrainConfig) if f.metadata.get("declared_in") is FinetuneConfig),
)
"""Settings of `TrainConfig` that `FinetuneConfig` takes over; the choices of `adapt` differ."""

GP_LABELS = 6000
"""Labels up to which the Gaussian process is offered: minutes and a few GB a fit there."""


def train_run(
    cohort: Cohort,
    out: Path | str,
    config: TrainConfig | None = None,
    window: WindowConfig | None = None,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> dict[str, Any]:
    """Train and write a run; return its manifest, or nothing in a process that writes nothing.

    Started by `torchrun` or `accelerate launch`, the processes train every fold together; the
    first writes (`processes`).

    Args:
        cohort: people with conversations and PHQ-9s.
        out: the run directory; an unfinished run of the same settings goes on.
        config: what is trained.
        window: which text counts for which PHQ-9.
        overwrite: replace a finished run.
        home: where readers and states are kept.

    Raises:
        LeadlineError: too few labelled people, a questionnaire in the chat, a reader that is not
            there, an occupied output, or several processes for a frozen reader.

    >>> from leadline import read_cohort, train_run
    >>> from leadline.runs.config import TrainConfig
    >>> config = TrainConfig(reader="minilm", fit="ridge", folds=3)
    >>> manifest = train_run(read_cohort("cohort"), "run", config)
    >>> manifest["training"]["models in the ensemble"]
    '3'
    """
    out, window = Path(out), window or WindowConfig()
    config = settled(config or TrainConfig(), home=home)
    join_group(config)
    labelled = labelled_people(cohort, config, window)
    questionnaires = check_questionnaires(cohort, window, labelled.readings)
    left_out = draw_folds(cohort, labelled, config)
    source = _readers(config, home)
    start = start_of(config, source, home)
    settings = {"train": asdict(config), "window": asdict(window), "inputs": cohort_hashes(cohort)}
    with run_directory(out, settings, overwrite, [cohort.path]) as run:
        if processes.is_first():
            keep_drawn_folds(cohort, left_out, config)
        ensemble, selection, states = (
            _train_frozen(labelled, config, window, left_out, source, start)
            if source is not None
            else _train_adapted(labelled, config, window, left_out, (run, home))
        )
        _save(run, ensemble, labelled, left_out, config, window)
        predictions = [ensemble_predictions(ensemble, labelled, states, left_out)]
        if questionnaires.turns and window.keep_questionnaire:
            predictions.append(masked_predictions(ensemble, cohort, config, window, left_out))
        estimates = labelled_estimates(ensemble, labelled, window, run)
        if not _goes_on_alone():
            return {}
        if config.baselines:
            predictions += baseline_predictions(labelled, config, left_out, states, home)
        pl.concat(predictions).write_parquet(run / "predictions.parquet")
        estimates.write_parquet(run / "estimates.parquet")
        training = _training_facts(labelled, left_out, config, window)
        training |= write_profiles(run, cohort, labelled, (ensemble, states), predictions[0])
        choices = selection, questionnaires.facts(window)
        return _finish(run, cohort, settings, training, choices, source)


def _goes_on_alone() -> bool:
    """Leave the group of processes; True in the one that does what is left for one."""
    processes.leave()
    return processes.is_first()


def _finish(
    run: Path,
    cohort: Cohort,
    settings: dict[str, Any],
    training: dict[str, str],
    choices: tuple[list[dict[str, Any]], dict[str, Any]],
    source: StateSource | None,
) -> dict[str, Any]:
    selection, questionnaire = choices
    return write_run_manifest(
        run,
        cohort,
        settings,
        training,
        command="train",
        selection=selection,
        questionnaire=questionnaire,
        reference_model="leadline",
        readers=source.identities if source else {},
    )


def _save(
    run: Path,
    ensemble: Ensemble,
    labelled: Labelled,
    left_out: dict[str, dict[int, int]],
    config: TrainConfig,
    window: WindowConfig,
) -> None:
    """The checkpoint and the ledger, written by one process; the others wait for it."""
    if processes.rank() == 0:
        save_ensemble(run, ensemble, config, window)
        counts = dict(labelled.readings.group_by("person_id").len().iter_rows())
        ledger_table(left_out, counts).write_parquet(run / "ledger.parquet")
    processes.barrier()


def join_group(config: TrainConfig) -> None:
    """Join the group of processes that were launched together.

    Raises:
        LeadlineError: several were launched for a frozen reader.
    """
    if processes.launched() > 1 and config.adapt == "frozen":
        raise LeadlineError(
            f"--adapt frozen in {processes.launched()} processes.",
            remedy="Start it without torchrun: a frozen reader is read by one process.",
        )
    processes.join()


def _readers(config: TrainConfig, home: Path | None) -> StateSource | None:
    """The readers of frozen models, None for an adapted one, which must be there all the same."""
    if config.adapt == "frozen":
        return open_source(config, home=home)
    reader_path(config.reader, home=home)
    return None


def start_of(
    config: TrainConfig, source: StateSource | None, home: Path | None
) -> AnchorPrior | None:
    """What the run that `config.prior` names assumes; None where it names none.

    Raises:
        LeadlineError: it is no run of `leadline prior`, or one of other readers.
    """
    if not config.prior or source is None:
        return None
    start, readers = load_prior(Path(config.prior), home=home)
    identities = {name: hash for name, hash in source.identities.items() if name != WORDS}
    if readers.identities != identities or readers.views.keys() != source.views.keys():
        raise LeadlineError(
            "The run of --prior was made with other readers or layers than this training.",
            remedy="Give both the same --reader, --layers, --max-tokens and --dtype, or make the "
            "prior again.",
            file=Path(config.prior),
        )
    return start


def candidates_for(config: TrainConfig, labels: int) -> tuple[Candidate, ...]:
    """The closed-form candidates that the settings and the number of labels allow.

    Raises:
        LeadlineError: a Gaussian process is asked for, with more labels than it can take.
    """
    if config.head == "scalar":
        return (Candidate("ridge", per_view=False, with_anchors=False),)
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
    start: AnchorPrior | None,
) -> tuple[Ensemble, list[dict[str, Any]], list[PersonStates]]:
    states = read_people(source, labelled.people)
    rows, _ = training_rows(labelled, states, source, window, config)
    ensemble, selection = frozen_ensemble(labelled, rows, config, left_out, source, start=start)
    return ensemble, selection, states


def frozen_ensemble(
    labelled: Labelled,
    rows: LabelledReadings,
    config: TrainConfig,
    left_out: dict[str, dict[int, int]],
    source: StateSource,
    fitted: Callable[[int, int, Ints], None] | None = None,
    *,
    start: AnchorPrior | None = None,
) -> tuple[Ensemble, list[dict[str, Any]]]:
    """One frozen model a repeat and fold, chosen, fitted and calibrated inside its people.

    Args:
        labelled: the labelled people.
        rows: their readings of every length, as `training_rows` gives them.
        config: folds, repeats, heads and seed.
        left_out: person -> repeat -> fold that leaves the person out.
        source: the readers.
        fitted: told the repeat, the fold and the people (rows of `labelled.people`) in the very
            arrays that the model of this fold was fitted on.
        start: what `config.prior` assumes; one more candidate begins with it.

    Returns:
        The ensemble, and a row for each model and candidate of how it was chosen.
    """
    person = rows.person
    rows = replace(rows, person=labelled.as_one()[person])  # copies share an inner fold too
    candidates = candidates_for(config, len(labelled.spans))
    if start is not None:
        candidates = (Candidate("started", per_view=False, start=start), *candidates)
    members, selection = [], []
    with progress_bar("Fitting") as advance:
        for repeat in range(config.repeats):
            for fold in range(config.folds):
                train = people_of_fold(labelled, left_out, repeat, fold, inside=True)
                at = np.flatnonzero(np.isin(person, train))
                fold_rows = rows.take(at)
                model, table = fit_frozen(
                    fold_rows,
                    candidates,
                    inner_folds=config.inner_folds,
                    seed=config.seed + 1000 * repeat + fold,
                    lexical=config.lexical == "auto",
                )
                if fitted is not None:
                    fitted(repeat, fold, np.unique(person[at]))
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
    return Ensemble(tuple(members), left_out, source, config.pool), selection


@dataclass(frozen=True)
class _Unseen:
    """What a model gave at readings of the people whom its fold left out, every length."""

    readings: Readings
    raw: Array  # (R, 28), or (R,) from a scalar head


def _train_adapted(
    labelled: Labelled,
    config: TrainConfig,
    window: WindowConfig,
    left_out: dict[str, dict[int, int]],
    places: tuple[Path, Path | None],
) -> tuple[Ensemble, list[dict[str, Any]], None]:
    from leadline.finetune.members import SharedBase, StoredModel, raw_estimates

    run, home = places
    totals = labelled.readings["total"].to_numpy().astype(np.float64)
    (run / CHECKPOINT).mkdir(exist_ok=True)
    every = readings_of_every_length(labelled, window)
    checkpoints: dict[tuple[int, int], Path] = {}
    unseen: dict[tuple[int, int], _Unseen] = {}
    for repeat in range(config.repeats):
        for fold in range(config.folds):
            train = set(people_of_fold(labelled, left_out, repeat, fold, inside=True).tolist())
            readings = [
                TrainingLabel(span, float(totals[row]))
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
            out = set(people_of_fold(labelled, left_out, repeat, fold, inside=False).tolist())
            rows = np.flatnonzero([span.person in out for span in every.spans])
            others = every.take(rows)
            raw = raw_estimates(model, labelled.people, others.spans)
            del model  # the next fold needs its room
            checkpoints[repeat, fold] = place
            unseen[repeat, fold] = _Unseen(others, raw)
    members, base = [], SharedBase(home)
    for (repeat, fold), place in checkpoints.items():
        calibration = _cross_calibration(
            labelled, [unseen[key] for key in unseen if key[0] == repeat and key[1] != fold]
        )
        stored = StoredModel(place, base)
        adapted = AdaptedModel(stored, calibration, config.head == "scalar")
        members.append(Member(repeat, fold, adapted))
    return Ensemble(tuple(members), left_out, None, config.pool), [], None


def _cross_calibration(labelled: Labelled, others: Sequence[_Unseen]) -> Calibration:
    """The calibration of one fold's model, from what the models of the other folds gave."""
    from leadline.finetune.members import moments

    words = [person.user_words() for person in labelled.people]
    spans = [span for part in others for span in part.readings.spans]
    label = np.concatenate([part.readings.label for part in others])
    mean, sd, histograms = moments(np.concatenate([part.raw for part in others]))
    return fit_calibration(
        mean,
        sd,
        np.array([words[span.person][span.turns].sum() for span in spans], dtype=np.float64),
        labelled.readings["total"].to_numpy().astype(np.float64)[label],
        np.concatenate([part.readings.share for part in others]),
        np.concatenate([part.readings.final for part in others]),
        histograms=histograms,
    )


def finetune_config(config: TrainConfig, seed: int) -> FinetuneConfig:
    """The fine-tuning settings that `config` speaks of; the others keep their defaults."""
    shared = {name: getattr(config, name) for name in SHARED}
    if config.layers != TrainConfig().layers:
        # The default names several layers for the views of a frozen reader; an adapted one
        # reads one, unless layers were asked for.
        shared["layers"] = config.layer_numbers()
    return FinetuneConfig(
        **shared,
        pooling={"words": "tokens"}.get(config.pool, config.pool),
        seed=seed,
    )


def train_adapted(
    config: TrainConfig,
    people: Sequence[Timeline],
    readings: Sequence[TrainingLabel],
    out: Path,
    seed: int,
    *,
    home: Path | None = None,
    shared: Any = None,
) -> Any:
    """Fine-tune on readings of `people`; go on where `out` stopped.

    `shared`, a `finetune.shared.SharedReader`, is what it shares with other fits of the process.
    """
    from leadline.finetune.examples import LabelledSpan, TrainPerson
    from leadline.finetune.model import FinetunedModel
    from leadline.finetune.train import finetune

    if (out / "manifest.json").is_file():
        return FinetunedModel.load(out, home=home, shared=shared)
    grouped: dict[int, list[LabelledSpan]] = {}
    for span, total, weight, sd, gold in readings:
        grouped.setdefault(span.person, []).append(
            LabelledSpan(span.first, span.last, total, weight, sd, gold)
        )
    examples = [TrainPerson(people[row].messages, spans) for row, spans in sorted(grouped.items())]
    tuning = finetune_config(config, seed)
    return finetune(examples, config.reader, tuning, out, home=home, shared=shared)


def _training_facts(
    labelled: Labelled,
    left_out: dict[str, dict[int, int]],
    config: TrainConfig,
    window: WindowConfig,
) -> dict[str, str]:
    """What the report says of the training."""
    locked = labelled.readings.filter("locked")
    return {
        "people trained on": str(len(left_out)),
        "PHQ-9s trained on": str(len(labelled.rows(set(left_out)))),
        "locked test people": str(locked["person_id"].n_unique()),
        **labelled.copies_in_words(left_out),
        **model_facts(config),
        "text": f"the {window.days:g} days before each PHQ-9"
        if window.days
        else "all text before each PHQ-9",
    }
