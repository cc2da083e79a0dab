"""From the labels table to what the label model observes: one row a reading, one column a draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.errors import LeadlineError
from leadline.teacher.label_model import Observations

READING = ("person_id", "time", "first", "last")

STUDENT = "student"


def ratings(
    labels: pl.DataFrame,
    gold: pl.DataFrame,
    student: pl.DataFrame | None = None,
    *,
    last_only: bool = True,
) -> tuple[pl.DataFrame, Observations]:
    """Line up teachers, student and gold by reading.

    Args:
        labels: columns of `labels.LABELS`; rows with source ``teacher`` count, each model is
            a rater. May be empty for a student alone.
        gold: the columns of `READING` and ``total``, as `cohort.windows.label_readings` gives
            them; only of people whose gold may be seen.
        student: the columns of `READING` and ``mean``: estimates by models that saw neither
            the person nor a label that depends on them.
        last_only: keep only each person's last reading, as `labelmodel.fit` wants: readings
            of one person are not independent.

    Returns:
        A table of the readings (columns of `READING`), and the observations in its order:
        teachers by name, then the student.

    Raises:
        LeadlineError: nobody has rated anything, or a reading has two ratings by one draw.
    """
    teacher = labels.filter(pl.col("source") == "teacher")
    keys = [*READING, "model", "draw"]
    if teacher.select(keys).is_duplicated().any():
        raise LeadlineError(
            "A reading has two ratings of one model and draw.",
            remedy="Do not join tables of several LABELS directories; label into one.",
        )
    parts = [teacher.select(READING)]
    if student is not None:
        parts.append(student.select(READING))
    rows = pl.concat(parts).unique(maintain_order=True).sort("person_id", "last")
    if last_only:
        rows = rows.unique("person_id", keep="last", maintain_order=True)
    if rows.is_empty():
        raise LeadlineError(
            "There is nothing to learn a label model from.",
            remedy="Label the cohort, or train a student first.",
        )
    models = sorted(teacher["model"].unique())
    draws = [_columns(rows, teacher.filter(pl.col("model") == model)) for model in models]
    if student is not None:
        draws.append(_values(rows, student, "mean").reshape(-1, 1))
        models = [*models, STUDENT]
    return rows, Observations(_values(rows, gold, "total"), tuple(draws), tuple(models))


def _columns(rows: pl.DataFrame, labels: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Totals of one model, shape (readings, draws), NaN where a draw is missing."""
    numbers = sorted(labels["draw"].unique())
    return np.column_stack(
        [_values(rows, labels.filter(pl.col("draw") == number), "total") for number in numbers]
    )


def _values(rows: pl.DataFrame, table: pl.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """A column in the order of the readings, NaN where the table has none."""
    unique_rows = table.select(*READING, pl.col(column).cast(pl.Float64)).unique(
        READING, keep="last"
    )
    joined = rows.select(READING).join(
        unique_rows, on=READING, how="left", nulls_equal=True, maintain_order="left"
    )
    return joined[column].fill_null(float("nan")).to_numpy().astype(np.float64)
