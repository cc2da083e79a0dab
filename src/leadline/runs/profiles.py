"""Profiles of a run: an item model a fold, and what they say of people whom they never saw.

Where PHQ-9s have items, each model of the run gets an item model of its own training people. They
lie in the checkpoint, apart from the models of the total, which do not change. Of a person speak
the item models of those folds alone whose models may estimate the person's total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.artefact import bind, pending_name, read_json, read_manifest, replacing, write_json
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import check_own
from leadline.heads.design import Design, PersonStates
from leadline.output import changing
from leadline.phq9.distribution import Totals
from leadline.phq9.graded_response import ANSWER_LEVELS
from leadline.phq9.items import ITEM_COLUMNS, ITEM_COUNTS, ITEMS
from leadline.profiles.item_model import ItemModel
from leadline.profiles.profile import Profile
from leadline.profiles.response_model import NOT_ANSWERED
from leadline.readers.anchors import anchor_names
from leadline.runs.checkpoint import checkpoint_members
from leadline.runs.ensemble import Ensemble
from leadline.runs.labelled import Labelled, people_of_fold
from leadline.tables import PROFILES

ITEMS_FILE, ITEMS_FORMAT = "checkpoint/items.json", 1

PROFILES_FILE = "profiles.parquet"

LEAST_PEOPLE = 20
"""People with items that every fold trains on; with fewer there is no profile."""

DELIVERED, TOTAL_ONLY, MARGINAL = "leadline", "total only", "marginal"

REMEDY = "Restore the run from a copy, or train it again."

Place = tuple[int, int]  # repeat and fold


@dataclass(frozen=True)
class ItemModels:
    """The item models of a run by repeat and fold.

    Attributes:
        instrument: ``phq9`` or ``phq8``, which has no item 9.
        models: of each model of the ensemble, what its training people tell of items.
    """

    instrument: str
    models: Mapping[Place, ItemModel]

    @property
    def items(self) -> int:
        """How many items the instrument has."""
        return ITEM_COUNTS[self.instrument]

    def looks_at_text(self) -> bool:
        """Whether the text moves any profile beyond its total."""
        return any(model.weight > 0.0 for model in self.models.values())

    def profile(
        self,
        ensemble: Ensemble,
        people: Sequence[Timeline],
        states: Sequence[PersonStates] | None,
        spans: Sequence[Span],
        totals: Totals,
    ) -> Profile:
        """The profiles at the spans, whose expected answers sum to the means of `totals`.

        Args:
            ensemble: the models that gave `totals`.
            people: whose text it is.
            states: their turn states; None for adapted readers.
            spans: readings; `Span.person` is a row of `people`.
            totals: the delivered distributions.
        """
        scores = self.scores(ensemble, states, spans)

        def chances(model: ItemModel, rows: Ints) -> Array:
            return model.chances(totals.take(rows), None if scores is None else scores[rows])

        return self._average(ensemble, people, spans, chances)

    def comparators(
        self,
        ensemble: Ensemble,
        people: Sequence[Timeline],
        spans: Sequence[Span],
        totals: Totals,
    ) -> dict[str, Profile]:
        """What a profile has to beat: the total without the text, and no total either."""

        def marginal(model: ItemModel, rows: Ints) -> Array:
            return np.broadcast_to(model.marginal, (len(rows), *model.marginal.shape))

        return {
            TOTAL_ONLY: self._average(
                ensemble, people, spans, lambda model, rows: model.chances(totals.take(rows))
            ),
            MARGINAL: self._average(ensemble, people, spans, marginal),
        }

    def scores(
        self, ensemble: Ensemble, states: Sequence[PersonStates] | None, spans: Sequence[Span]
    ) -> Array | None:
        """Scores of symptoms in the text of the spans; None where no model looks at them."""
        if ensemble.source is None or states is None or not self.looks_at_text():
            return None
        design = Design.of(ensemble.source.directions, states, spans, ensemble.pool)
        return symptom_scores(design, self.items)

    def _average(
        self,
        ensemble: Ensemble,
        people: Sequence[Timeline],
        spans: Sequence[Span],
        chances: Callable[[ItemModel, Ints], Array],
    ) -> Profile:
        """The average over the item models that may speak of each person."""
        total = np.zeros((len(spans), self.items, ANSWER_LEVELS))
        votes = np.zeros((len(spans), 1, 1))
        for number, rows in ensemble.rows_by_member(people, spans).items():
            member = ensemble.members[number]
            total[rows] += chances(self.models[member.repeat, member.fold], rows)
            votes[rows] += 1.0
        return Profile(total / votes)


def symptom_scores(design: Design, items: int) -> Array | None:
    """Anchor scores of each item's symptom, in every view and voice, shape (R, items, C).

    None where the directions of the design are not those of the anchors.
    """
    names = [name.split(".")[1] for name in anchor_names()]
    symptoms = [item.replace(" ", "_").replace("-", "_") for item in ITEMS[:items]]
    columns = [[at for at, name in enumerate(names) if name == item] for item in symptoms]
    if any(anchors.shape[1] != len(names) for anchors in design.anchors.values()):
        return None
    parts = [anchors[:, columns] for anchors in design.anchors.values()]
    return np.concatenate(parts, axis=2)


def answers_of(cohort: Cohort, labelled: Labelled) -> Ints:
    """Answers of each label of `labelled.readings`, (labels, items), `NOT_ANSWERED` if none."""
    instrument = labelled.readings["instrument"][0]
    names = ITEM_COLUMNS[: ITEM_COUNTS[instrument]]
    table = cohort.phq9.select(pl.col(names).fill_null(NOT_ANSWERED).cast(pl.Int64))
    return table[labelled.readings["label"].to_list()].to_numpy()


def fit_item_models(
    cohort: Cohort,
    labelled: Labelled,
    ensemble: Ensemble,
    states: Sequence[PersonStates] | None,
) -> ItemModels | None:
    """An item model for each model of the ensemble; None where too few people gave items.

    Args:
        cohort: with the PHQ-9s.
        labelled: its labelled people.
        ensemble: the models, which left people out as it says.
        states: turn states of `labelled.people`; None for adapted readers.
    """
    answers = answers_of(cohort, labelled)
    person = np.array([span.person for span in labelled.spans])
    scores = None
    if ensemble.source is not None and states is not None:
        design = Design.of(ensemble.source.directions, states, labelled.spans, ensemble.pool)
        scores = symptom_scores(design, answers.shape[1])
    folds = {name: dict(fold) for name, fold in ensemble.left_out.items()}
    models: dict[Place, ItemModel] = {}
    for member in ensemble.members:
        train = people_of_fold(labelled, folds, member.repeat, member.fold, inside=True)
        has_items = np.isin(person, train) & (answers != NOT_ANSWERED).any(axis=1)
        rows = np.flatnonzero(has_items)
        if len(np.unique(person[rows])) < LEAST_PEOPLE:
            return None
        of_rows = None if scores is None else scores[rows]
        models[member.repeat, member.fold] = ItemModel.fit(answers[rows], of_rows)
    return ItemModels(str(labelled.readings["instrument"][0]), models)


def profile_table(
    items: ItemModels,
    ensemble: Ensemble,
    labelled: Labelled,
    states: Sequence[PersonStates] | None,
    cohort: Cohort,
    predictions: pl.DataFrame,
) -> pl.DataFrame:
    """Profiles of the labels that the run's own model predicted, a table of `PROFILES`.

    Args:
        items: of the run.
        ensemble: of the run.
        labelled: the labels, with gold answers in `cohort`.
        states: turn states of `labelled.people`; None for adapted readers.
        cohort: the answers.
        predictions: rows of `PREDICTIONS` of this model: their distributions are delivered.
    """
    answers = answers_of(cohort, labelled)
    place = {label: row for row, label in enumerate(labelled.readings["label"].to_list())}
    tables = []
    for (repeat, is_fold), part in predictions.group_by(
        "repeat", pl.col("fold") >= 0, maintain_order=True
    ):
        members = tuple(m for m in ensemble.members if not is_fold or m.repeat == repeat)
        speaking = replace(ensemble, members=members)
        rows = np.array([place[label] for label in part["label"].to_list()])
        spans = [labelled.spans[row] for row in rows]
        totals = Totals.of_rows(part["distribution"].to_list())
        of_text = items.profile(speaking, labelled.people, states, spans, totals)
        profiles = {DELIVERED: of_text} | items.comparators(
            speaking, labelled.people, spans, totals
        )
        for name, profile in profiles.items():
            tables.append(_long_table(name, profile, part, answers[rows]))
    return pl.concat(tables)


def _long_table(
    name: str, profile: Profile, predictions: pl.DataFrame, answers: Ints
) -> pl.DataFrame:
    """A row for each label and item."""
    count, items = answers.shape
    lower, upper = profile.interval()
    keys = ("repeat", "fold", "split", "person_id", "label", "instrument")
    repeated = predictions.select(keys)[np.repeat(np.arange(count), items).tolist()]
    flat = answers.ravel()
    table = repeated.with_columns(
        pl.lit(name).alias("model"),
        pl.Series("item", np.tile(np.arange(1, items + 1), count)),
        pl.Series("answer", [None if answer == NOT_ANSWERED else answer for answer in flat]),
        pl.Series("expected", profile.expected().ravel()),
        pl.Series("chances", profile.chances.reshape(count * items, -1).tolist()),
        pl.Series("lower", lower.ravel()),
        pl.Series("upper", upper.ravel()),
    )
    return table.select(pl.col(column).cast(kind) for column, kind in PROFILES.items())


def write_profiles(
    run: Path,
    cohort: Cohort,
    labelled: Labelled,
    model: tuple[Ensemble, Sequence[PersonStates] | None],
    predictions: pl.DataFrame,
) -> dict[str, str]:
    """Fit item models where the cohort's PHQ-9s have items, and write them and their profiles.

    Args:
        run: a run that is being made.
        cohort: with the PHQ-9s.
        labelled: its labelled people.
        model: the ensemble, and the turn states of `labelled.people`.
        predictions: out of fold, by this ensemble.

    Returns:
        What the report says of it; empty where too few people gave items.
    """
    ensemble, states = model
    items = fit_item_models(cohort, labelled, ensemble, states)
    if items is None:
        return {}
    save_item_models(run, items)
    table = profile_table(items, ensemble, labelled, states, cohort, predictions)
    table.write_parquet(run / PROFILES_FILE, compression="zstd")
    people = min(entry.people for entry in items.models.values())
    moved = sum(entry.weight > 0.0 for entry in items.models.values())
    text = f"the text moves it at a given total in {moved} of {len(items.models)} folds"
    return {"profile of the items": f"fitted to {people} or more PHQ-9s with items a fold; {text}"}


def save_item_models(run: Path, items: ItemModels) -> None:
    """Write the item models into the checkpoint of a run that is being made."""
    entries = [
        {"repeat": repeat, "fold": fold, **model.to_plain()}
        for (repeat, fold), model in items.models.items()
    ]
    content = {"format": ITEMS_FORMAT, "instrument": items.instrument, "models": entries}
    write_json(run / ITEMS_FILE, content)


def load_item_models(run: Path) -> ItemModels | None:
    """The item models of a finished run; None where it has none.

    Raises:
        LeadlineError: they are not as training wrote them, or not those of the run's models.
    """
    file = run / ITEMS_FILE
    if not file.is_file():
        return None
    check_own(run, ITEMS_FILE, REMEDY)
    items = read_item_models(file)
    if items.models.keys() != {
        (entry["repeat"], entry["fold"]) for entry in checkpoint_members(run)
    }:
        raise LeadlineError(
            "The item models of this run are not those of its models.", remedy=REMEDY, file=file
        )
    return items


def read_item_models(file: Path) -> ItemModels:
    """The item models in a file, each checked.

    Raises:
        LeadlineError: the file is not as training writes it.
    """
    content = read_json(file, format=ITEMS_FORMAT, remedy=REMEDY, what="file of item models")
    damaged = LeadlineError(
        "The item models of this run are not as training writes them.", remedy=REMEDY, file=file
    )
    instrument, entries = content.get("instrument"), content.get("models")
    if instrument not in ("phq9", "phq8") or not isinstance(entries, list):
        raise damaged
    models: dict[Place, ItemModel] = {}
    for entry in entries:
        try:
            model = ItemModel.from_plain(entry)
            models[int(entry["repeat"]), int(entry["fold"])] = model
        except (LeadlineError, KeyError, TypeError, ValueError) as error:
            raise damaged from error
        if model.response.items != ITEM_COUNTS[instrument]:
            raise damaged
    return ItemModels(instrument, models)


def item_models_of(run: Path) -> ItemModels:
    """The item models of a finished run that is asked for profiles.

    Raises:
        LeadlineError: it has none, or as `load_item_models`.
    """
    items = load_item_models(run)
    if items is None:
        raise LeadlineError(
            "This run gives no profile of the items: it was trained without answers to them.",
            remedy=f"Ask for totals alone; or import PHQ-9s with their items, of {LEAST_PEOPLE} "
            "people or more in the training part of each fold, and train again.",
            file=run,
        )
    return items


def profiles_of_split(
    run: Path,
    model: tuple[Ensemble, Sequence[PersonStates] | None],
    labelled: Labelled,
    cohort: Cohort,
    predictions: pl.DataFrame,
) -> pl.DataFrame | None:
    """Profiles of a further split, a table of `PROFILES`; None where the run gives none.

    Arguments as `write_profiles` takes them, of a finished run.
    """
    items = load_item_models(run)
    if items is None:
        return None
    return profile_table(items, model[0], labelled, model[1], cohort, predictions)


def keep_profiles(run: Path, split: str, table: pl.DataFrame | None) -> None:
    """Keep the profiles of a further split beside its predictions, in place of those of before."""
    if table is None:
        return
    name = f"profiles-{split}.parquet"
    with changing(run):
        manifest = read_manifest(run, "run")
        with replacing(run / pending_name(name)) as scratch:
            table.with_columns(pl.lit(split).alias("split")).write_parquet(
                scratch, compression="zstd"
            )
        bind(run, manifest, [name])
