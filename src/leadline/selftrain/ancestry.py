"""The ancestry ledger: what every pseudolabel descends from, and the refusal of tainted ones.

Models and batches of pseudolabels form a graph. A *model* names the people whose gold it was
fitted on and the batches that it was fitted on. A *batch* names the models that estimated for
it and the people whose gold or ratings went into its label model. The *ancestors* of a batch
are all people that are met on the way down: those named directly, those whose pseudolabels a
model was fitted on, and theirs. They are computed from what was used, which whoever records it
reads off the arrays that were fitted, never from what a batch should have used, so a mistake in
the plan of the folds, or in the code that follows the plan, shows here.

A pseudolabel is *tainted* if its own person, a locked test person, or anyone whom the model
that it trains must not have seen, is among its ancestors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.tables import check_columns

People = frozenset[str]

PSEUDOLABELS = "ledger-pseudolabels.parquet"

MODELS = "ledger-models.parquet"

BATCHES = "ledger-batches.parquet"

PSEUDOLABEL_COLUMNS: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "first": pl.Int32(),  # of the person's user turns, included
    "last": pl.Int32(),  # of the person's user turns, included
    "source": pl.String(),  # always "student": gold and teacher labels are not in this table
    "round": pl.Int16(),
    "repeat": pl.Int16(),
    "batch": pl.String(),  # row of BATCHES, which holds sources and ancestors
    "total": pl.Float64(),
    "sd": pl.Float64(),
    "weight": pl.Float64(),  # relative to a gold label's 1
}

MODEL_COLUMNS: dict[str, pl.DataType] = {
    "model": pl.String(),
    "people": pl.List(pl.String()),  # whose gold it was fitted on
    "batches": pl.List(pl.String()),  # of pseudolabels that it was fitted on
}

BATCH_COLUMNS: dict[str, pl.DataType] = {
    "batch": pl.String(),
    "labelled": pl.List(pl.String()),  # who gets a label
    "models": pl.List(pl.String()),  # students that estimated for it
    "raters": pl.List(pl.String()),  # teachers that rated for it
    "people": pl.List(pl.String()),  # whose gold or ratings its label model saw
    "ancestors": pl.List(pl.String()),  # everyone whom its sources have seen
}


class TaintedLabel(LeadlineError):
    """A pseudolabel that depends on someone that it must not depend on."""


@dataclass(frozen=True)
class Fitted:
    """What a model was fitted on: batches of pseudolabels, and everyone else in its rows."""

    name: str
    people: People
    batches: tuple[str, ...]


@dataclass(frozen=True)
class PseudolabelBatch:
    """Pseudolabels of some people by the same sources.

    Attributes:
        name: unique within a run.
        labelled: who gets a label.
        models: students that estimated these people or the people of the label model.
        raters: names of the teachers.
        people: whose gold, ratings or few-shot answers the label model or the teachers saw.
    """

    name: str
    labelled: People
    models: tuple[str, ...]
    raters: tuple[str, ...]
    people: People


@dataclass
class AncestryLedger:
    """The graph of a run.

    Attributes:
        locked: the locked test people.
        relabels: whether people may be relabelled by models that were fitted on their own label,
            as in the scheme ``paper``; what is refused then is locked people alone.
        fitted, batches: by name.
    """

    locked: People
    relabels: bool = False
    fitted: dict[str, Fitted] = field(default_factory=dict)
    batches: dict[str, PseudolabelBatch] = field(default_factory=dict)
    _seen: dict[str, People] = field(default_factory=dict)

    def add_model(self, model: Fitted) -> None:
        """Record a model after its batches."""
        unknown = set(model.batches) - set(self.batches)
        assert not unknown, "batches are recorded before the models that they train"
        self.fitted[model.name] = model

    def add_batch(self, batch: PseudolabelBatch) -> None:
        """Record a batch after its models, and refuse it if it is tainted.

        Raises:
            TaintedLabel: it depends on one of its own people or on a locked one.
        """
        unknown = set(batch.models) - set(self.fitted)
        assert not unknown, "models are recorded before the batches that they make"
        self.batches[batch.name] = batch
        self._refuse(batch)

    def ancestors(self, name: str) -> People:
        """Everyone whom the sources of the batch `name` have seen."""
        if name not in self._seen:
            batch = self.batches[name]
            parts = [self.seen_by(model) for model in batch.models]
            self._seen[name] = batch.people.union(*parts)
        return self._seen[name]

    def seen_by(self, model: str) -> People:
        """Everyone whose gold or pseudolabel the model descends from, directly or not."""
        key = f"model {model}"
        if key not in self._seen:
            fitted = self.fitted[model]
            used = [self.batches[name] for name in fitted.batches]
            labelled = [batch.labelled for batch in used]
            ancestors = [self.ancestors(batch.name) for batch in used]
            self._seen[key] = fitted.people.union(*labelled, *ancestors)
        return self._seen[key]

    def refuse_seen(self, model: str, people: Iterable[str], purpose: str) -> None:
        """Raise if `model` has seen any of `people`, whom it is to estimate or never to know.

        Raises:
            TaintedLabel: it has.
        """
        count = len(self.seen_by(model) & frozenset(people))
        if count:
            raise TaintedLabel(
                f"A model has seen {count} of the people that it serves for ({purpose}).",
                remedy="Do not use this run; report how it was made.",
            )

    def check(self) -> None:
        """Check every batch again.

        Raises:
            TaintedLabel: a batch depends on one of its own people or on a locked one.
        """
        for batch in self.batches.values():
            self._refuse(batch)

    def _refuse(self, batch: PseudolabelBatch) -> None:
        labelled = frozenset[str]() if self.relabels else batch.labelled
        refuse_tainted(batch, self.ancestors(batch.name), self.locked, labelled)

    def write(self, run: Path, pseudolabels: pl.DataFrame) -> None:
        """Write the three tables of the ledger into the run."""
        models = [(m.name, sorted(m.people), list(m.batches)) for m in self.fitted.values()]
        batches = [
            (
                b.name,
                sorted(b.labelled),
                list(b.models),
                list(b.raters),
                sorted(b.people),
                sorted(self.ancestors(b.name)),
            )
            for b in self.batches.values()
        ]
        for rows, columns, name in (
            (models, MODEL_COLUMNS, MODELS),
            (batches, BATCH_COLUMNS, BATCHES),
        ):
            table = pl.DataFrame(rows, schema=columns, orient="row")
            table.write_parquet(run / name, compression="zstd")
        pseudolabels.write_parquet(run / PSEUDOLABELS, compression="zstd")


def refuse_tainted(
    batch: PseudolabelBatch, ancestors: People, locked: People, own_people: People
) -> None:
    """Raise if a batch depends on one of its own people, or on a locked test person.

    Args:
        batch: pseudolabels.
        ancestors: everyone whom its sources have seen.
        locked: the locked test people.
        own_people: those of its people who must not be among the ancestors.

    Raises:
        TaintedLabel: with the counts; no one is named.
    """
    circular = len(own_people & ancestors)
    locked_count = len((batch.labelled | ancestors) & locked)
    if circular or locked_count:
        raise TaintedLabel(
            f"Of the pseudolabels {batch.name!r}, {circular} depend on their own person and "
            f"{locked_count} people among them or their ancestors are locked test people.",
            remedy="Do not use these labels; keep folds and locked people as they were drawn.",
        )


def read_ancestry(run: Path, locked: People, *, relabels: bool = False) -> AncestryLedger:
    """Read a run's ledger and check that its ancestors follow from its graph.

    Args:
        run: the run directory.
        locked: ids of the locked test people.
        relabels: as of `AncestryLedger`.

    Raises:
        TaintedLabel: a label is tainted, or the recorded ancestors are not what the graph says.
        LeadlineError: the tables cannot be read.
    """
    try:
        models = pl.read_parquet(run / MODELS)
        batches = pl.read_parquet(run / BATCHES)
        labels = pl.read_parquet(run / PSEUDOLABELS)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "The ancestry ledger cannot be read.",
            remedy="Give a run of `leadline selftrain`, or run it again.",
            file=run / BATCHES,
        ) from error
    for table, columns, file in (
        (models, MODEL_COLUMNS, MODELS),
        (batches, BATCH_COLUMNS, BATCHES),
        (labels, PSEUDOLABEL_COLUMNS, PSEUDOLABELS),
    ):
        check_columns(table, columns, run / file, "Run `leadline selftrain` again.")
    ledger = AncestryLedger(locked, relabels)
    for name, people, used in models.select(*MODEL_COLUMNS).iter_rows():
        ledger.fitted[name] = Fitted(name, frozenset(people), tuple(used))
    recorded: dict[str, People] = {}
    rows = batches.select(*BATCH_COLUMNS).iter_rows()
    for name, labelled, sources, raters, people, ancestors in rows:
        ledger.batches[name] = PseudolabelBatch(
            name, frozenset(labelled), tuple(sources), tuple(raters), frozenset(people)
        )
        recorded[name] = frozenset(ancestors)
    _check_recorded(ledger, recorded, labels, run)
    ledger.check()
    return ledger


def _check_recorded(
    ledger: AncestryLedger, recorded: Mapping[str, People], labels: pl.DataFrame, run: Path
) -> None:
    wrong = [name for name, people in recorded.items() if people != ledger.ancestors(name)]
    owners = dict(labels.group_by("batch").agg("person_id").iter_rows())
    strays = [
        name
        for name, people in owners.items()
        if name not in ledger.batches or frozenset(people) != ledger.batches[name].labelled
    ]
    if wrong or strays:
        raise TaintedLabel(
            f"{len(wrong)} batches name other ancestors than their sources have, and "
            f"{len(strays)} hold other people than they say.",
            remedy="The ledger was changed by hand: run `leadline selftrain` again.",
            file=run / BATCHES,
        )


def check_ancestry(
    run: Path,
    locked: People,
    left_out: Mapping[str, Mapping[int, int]],
    *,
    relabels: bool = False,
) -> int:
    """Check a finished run's ledger, and that no model in it saw whom its name leaves out.

    Args:
        run: the run directory.
        locked: ids of the locked test people.
        left_out: person -> repeat -> fold whose model estimates the person.
        relabels: as of `AncestryLedger`; labels then descend from the people who were set aside
            (they measure the label model), and what is refused is a model fitted on them.

    Returns:
        The number of batches checked.

    Raises:
        TaintedLabel: something in the run depends on whom it must not depend on.
    """
    ledger = read_ancestry(run, locked, relabels=relabels)
    free = frozenset[str]().union(*(batch.labelled for batch in ledger.batches.values()))
    for name in ledger.fitted:
        repeat, gold_out, unlabelled_out = folds_out(name)
        fold = {person: folds.get(repeat) for person, folds in left_out.items()}
        people = [
            person
            for person, place in fold.items()
            if place in gold_out or (place in unlabelled_out and person in free)
        ]
        if relabels:
            refuse_fitted(ledger, name, [*people, *locked])
        else:
            ledger.refuse_seen(name, [*people, *locked], "estimates of people left out")
    return len(ledger.batches)


def refuse_fitted(ledger: AncestryLedger, model: str, people: Iterable[str]) -> None:
    """Raise if `model` was itself fitted on any of `people`, whatever its labels descend from.

    Raises:
        TaintedLabel: it was.
    """
    fitted = ledger.fitted[model]
    labelled = [ledger.batches[name].labelled for name in fitted.batches]
    count = len(fitted.people.union(*labelled) & frozenset(people))
    if count:
        raise TaintedLabel(
            f"A model was fitted on {count} of the people who were set aside from it.",
            remedy="Do not use this run; report how it was made.",
        )


def model_name(
    tree: str,
    kind: str,
    round_: int,
    repeat: int,
    gold_out: Iterable[int],
    unlabelled_out: Iterable[int],
) -> str:
    """Such as ``main-posterior-1-r0-g0.3-u0.3.4``: whose folds the model never saw."""
    gold, free = (".".join(map(str, sorted(folds))) for folds in (gold_out, unlabelled_out))
    return f"{tree}-{kind}-{round_}-r{repeat}-g{gold}-u{free}"


def folds_out(name: str) -> tuple[int, frozenset[int], frozenset[int]]:
    """Repeat of a model, the folds whose gold is out, and those whose people without gold are."""
    *_, repeat, gold, free = name.split("-")
    out, free_out = (frozenset(int(x) for x in part[1:].split(".") if x) for part in (gold, free))
    return int(repeat[1:]), out, free_out
