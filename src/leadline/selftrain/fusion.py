"""Fusion at scoring time: the student's estimate and a teacher's draws of the same reading.

A run keeps a label model of its teachers and its final, calibrated student for each model of
the ensemble, fitted without the fold that this model left out. The fused estimate of a person
is the posterior of these label models, averaged over those that never saw the person. Nothing
is trained here: draws of locked test people may come in, and go nowhere else.

One class, `Fusion`, makes the predictions that a run is evaluated on and the estimates that
`leadline score --labels` delivers. Both start from the severity of people with gold: for them
alone a fused estimate can be checked, and the student is centred on them as well.

Intervals are conformal: those of a label model take their widths from what the label models of
the other folds said of rated people with gold whom they and their student never saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.artefact import MANIFEST, read_json, read_manifest, replacing, sha256, write_json
from leadline.cohort.config import window_of
from leadline.cohort.store import check_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import RESTORE, check_own, own_table
from leadline.heads.calibration import WIDTH_LEVELS, conformal_widths, width_at
from leadline.phq9.distribution import Totals
from leadline.runs.checkpoint import LEDGER_FILE
from leadline.runs.config import INTERVAL
from leadline.runs.estimates import estimate_columns, run_of_estimates, write_estimates
from leadline.runs.ledger import read_ledger
from leadline.tables import ESTIMATES
from leadline.teacher.label import refuse_other_labels
from leadline.teacher.label_model import STUDENT, LabelModel, fuse
from leadline.teacher.label_table import LABELS_FILE, read_labels

Models = Mapping[tuple[int, int], LabelModel]

LeftOut = Mapping[int, int] | None
"""Fold of a person by repeat; None for somebody of no fold."""

Widths = Mapping[tuple[int, int], tuple[float, ...]]
"""By (repeat, fold) of a label model what `conformal_widths` gives for its intervals."""

FUSION_FILE = "fusion.json"

FUSION_FORMAT = 1


PRIOR = "labelled"
"""The group of the label model whose distribution of severity fused estimates start from."""


@dataclass(frozen=True)
class Fusion:
    """The label models of a run and the widths of their intervals.

    Attributes:
        models: label models by (repeat, fold), all of the same raters, the student last.
        widths: of the same keys; the nominal levels until they have been measured.
    """

    models: Models
    widths: Widths

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the teachers, in the order of their draws."""
        return next(iter(self.models.values())).names[:-1]

    def totals(self, left_out: Sequence[LeftOut], student: Array, draws: Sequence[Array]) -> Totals:
        """Distributions of the totals of N people from student and teachers.

        Args:
            left_out: for each reading the person's fold by repeat; None for people of no fold.
            student: the run's calibrated estimates, shape (N,); NaN for the teachers alone.
            draws: of each teacher, (N, draws), NaN where there is none.
        """

        def estimates() -> Iterator[tuple[Ints, Totals]]:
            for (repeat, fold), model in self.models.items():
                allowed = [folds is None or folds.get(repeat) == fold for folds in left_out]
                rows = np.flatnonzero(allowed)
                if len(rows):
                    drawn = [table[rows] for table in draws]
                    yield rows, Totals.normal(*fuse(model, student[rows], drawn, group=PRIOR))

        return Totals.average(len(student), estimates())

    def width(self, left_out: Sequence[LeftOut], level: float = INTERVAL) -> Array:
        """Mass of each central interval that covers `level` of people, shape (N,).

        Args:
            left_out: for each reading the person's fold by repeat; None for people of no fold.
            level: share of people to be covered.
        """
        nominal = {key: width_at(level, levels) for key, levels in self.widths.items()}

        def mean(folds: LeftOut) -> float:
            return float(
                np.mean([x for (r, f), x in nominal.items() if folds is None or folds.get(r) == f])
            )

        return np.array([mean(folds) for folds in left_out], dtype=np.float64)


def fused_widths(keys: Iterable[tuple[int, int]], ranks: Mapping[tuple[int, int], Array]) -> Widths:
    """Widths of the label models, from the people of the other folds of the same repeat.

    Where a repeat has one fold alone, the development set of the scheme ``paper``, they are from
    its own people, on whom the label model was measured too.

    Args:
        keys: (repeat, fold) of each label model.
        ranks: `central_ranks` of the rated people with gold whom each label model never saw.
    """

    def seen(repeat: int, fold: int) -> Array:
        others = [x for (r, f), x in ranks.items() if r == repeat and f != fold]
        return np.concatenate(others or [ranks[repeat, fold]])

    return {(repeat, fold): conformal_widths(seen(repeat, fold)) for repeat, fold in keys}


def check_fusion(run: Path, labels: Path, cohort: Path) -> None:
    """Raise `LeadlineError` unless LABELS can be fused with estimates of `cohort` by `run`."""
    fusion, table = load_fusion(run), read_labels(labels)
    window = window_of(read_manifest(run, "run")["settings"].get("window"), run / MANIFEST)
    refuse_other_labels(labels, check_cohort(cohort), window)
    _check_teachers(run, table, fusion.teachers)


def fuse_file(run: Path, estimates: Path, labels: Path) -> int:
    """Fuse the estimates in a file with LABELS in place, whole or not at all; how many were."""
    table, fused = fuse_estimates(run, pl.read_parquet(estimates), read_labels(labels))
    made_by = run_of_estimates(estimates) | {
        FUSION_FILE: sha256(run / FUSION_FILE),
        LABELS_FILE: sha256(labels / LABELS_FILE),
    }
    with replacing(estimates) as scratch:
        write_estimates(table, scratch, made_by)
    return fused


def _check_teachers(run: Path, labels: pl.DataFrame, teachers: tuple[str, ...]) -> None:
    if not set(teachers) & set(labels.filter(pl.col("source") == "teacher")["model"]):
        raise LeadlineError(
            f"None of these labels are by a teacher of this run ({', '.join(teachers)}).",
            remedy="Label with the teacher that the run was trained with.",
            file=run / FUSION_FILE,
        )


def fuse_estimates(
    run: Path, estimates: pl.DataFrame, labels: pl.DataFrame
) -> tuple[pl.DataFrame, int]:
    """Fuse running estimates with teacher draws of the readings that end where they stand.

    Args:
        run: a finished run of `leadline selftrain` with teachers.
        estimates: table of `ESTIMATES`, the turns of each person in order, as
            `leadline score` writes it.
        labels: teacher draws, table of `tables.LABELS`.

    Returns:
        The estimates, with those replaced for which a teacher's reading ends at the same user
        turn, and how many were. Increments still add up to the mean: those at a fused turn and
        after it hold what the ratings moved. `departure` stays what the text alone gave.

    Raises:
        LeadlineError: the run keeps no label models, or none of its teachers rated anything.
    """
    fusion = load_fusion(run)
    _check_teachers(run, labels, fusion.teachers)
    numbered = estimates.with_columns(
        (pl.col("person_id").cum_count().over("person_id") - 1).alias("last"),
        pl.int_range(pl.len()).alias("row"),
    )
    draws, rows = _draws_at(numbered, labels, fusion.teachers)
    if not len(rows):
        return estimates, 0
    left_out = read_ledger(own_table(run, LEDGER_FILE))
    rated_estimates = estimates[rows.tolist()]
    folds = [left_out.get(person) for person in rated_estimates["person_id"]]
    totals = fusion.totals(folds, rated_estimates["mean"].to_numpy(), draws)
    return _replaced(estimates, rows, totals, fusion.width(folds)), len(rows)


def draws_of(
    labels: pl.DataFrame, teachers: Sequence[str], keys: Sequence[tuple[str, int]]
) -> tuple[Array, ...]:
    """Draws of each teacher for readings (person_id, last user turn), each (N, draws)."""
    row = {key: number for number, key in enumerate(keys)}
    out = []
    for teacher in teachers:
        ratings = labels.filter((pl.col("source") == "teacher") & (pl.col("model") == teacher))
        numbers = {draw: column for column, draw in enumerate(sorted(set(ratings["draw"])))}
        table = np.full((len(keys), max(len(numbers), 1)), np.nan)
        for person, last, draw, total in ratings.select(
            "person_id", "last", "draw", "total"
        ).iter_rows():
            if (person, last) in row:
                table[row[person, last], numbers[draw]] = total
        out.append(table)
    return tuple(out)


def _draws_at(
    numbered: pl.DataFrame, labels: pl.DataFrame, teachers: Sequence[str]
) -> tuple[tuple[Array, ...], Ints]:
    """Draws for the rows of estimates that any teacher rated, and these rows."""
    rated = labels.filter(pl.col("source") == "teacher").select(
        "person_id", pl.col("last").cast(pl.Int64)
    )
    matches = numbered.with_columns(pl.col("last").cast(pl.Int64)).join(
        rated.unique(), on=["person_id", "last"], how="semi"
    )
    keys = list(matches.select("person_id", "last").iter_rows())
    draws = draws_of(labels, teachers, keys)
    has_draw = np.any([np.isfinite(table).any(axis=1) for table in draws], axis=0)
    rows = matches["row"].to_numpy()[has_draw].astype(np.int64)
    return tuple(table[has_draw] for table in draws), rows


def _replaced(estimates: pl.DataFrame, rows: Ints, totals: Totals, width: Array) -> pl.DataFrame:
    new = pl.DataFrame({"row": rows, **estimate_columns(totals, width)})
    base = estimates.with_columns(pl.int_range(pl.len()).cast(pl.Int64).alias("row"))
    moved = base.update(new, on="row").with_columns((pl.col("mean") - base["mean"]).alias("by"))
    before = pl.col("by").shift(1, fill_value=0.0).over("person_id")
    summed = moved.with_columns(pl.col("increment") + pl.col("by") - before)
    return summed.select(list(ESTIMATES))


def save_fusion(run: Path, fusion: Fusion, alone: Fusion) -> None:
    """Write the label models of a run and the widths of their intervals.

    Args:
        run: where.
        fusion: of teachers and student.
        alone: the same label models, with the widths of the teachers alone.
    """
    entries = [
        {
            "repeat": repeat,
            "fold": fold,
            **_plain(model),
            "widths": list(fusion.widths[repeat, fold]),
            "teacher_widths": list(alone.widths[repeat, fold]),
        }
        for (repeat, fold), model in fusion.models.items()
    ]
    write_json(run / FUSION_FILE, {"format": FUSION_FORMAT, "models": entries})


def load_fusion(run: Path, *, alone: bool = False) -> Fusion:
    """What `save_fusion` wrote; the nominal widths in a run of before it wrote any.

    Args:
        run: a finished run.
        alone: the widths of the teachers without the student.

    Raises:
        LeadlineError: the run has no label models, or they cannot be read.
    """
    path = run / FUSION_FILE
    if not path.is_file():
        raise LeadlineError(
            "This run keeps no label models to fuse with.",
            remedy="Use a run of `leadline selftrain` that had teacher labels.",
            file=path,
        )
    check_own(run, FUSION_FILE, RESTORE)
    problem = "The label models of this run cannot be read."
    remedy = "Restore the file from a copy, or run `leadline selftrain` again."
    content = read_json(
        path, format=FUSION_FORMAT, remedy=remedy, what="file of label models", problem=problem
    )
    widths = "teacher_widths" if alone else "widths"
    try:
        entries = {(entry["repeat"], entry["fold"]): entry for entry in content["models"]}
        return Fusion(
            {key: _restored(entry) for key, entry in entries.items()},
            {
                key: tuple(map(float, entry.get(widths, WIDTH_LEVELS)))
                for key, entry in entries.items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LeadlineError(problem, remedy=remedy, file=path) from error


ARRAYS = ("intercepts", "slopes", "psi", "draw_sd")


def _plain(model: LabelModel) -> dict[str, Any]:
    out = {name: getattr(model, name) for name in LabelModel.__dataclass_fields__}
    return out | {name: out[name].tolist() for name in ARRAYS} | {"names": list(model.names)}


def _restored(entry: Mapping[str, Any]) -> LabelModel:
    values = {name: entry[name] for name in LabelModel.__dataclass_fields__}
    values |= {name: np.array(values[name], dtype=np.float64) for name in ARRAYS}
    for group in ("labelled", "unlabelled"):
        values[group] = (float(values[group][0]), float(values[group][1]))
    model = LabelModel(**{**values, "names": tuple(values["names"])})
    if model.names[-1] != STUDENT:
        raise KeyError(STUDENT)
    return model
