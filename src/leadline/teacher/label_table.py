"""The labels table: what teachers and students said, with where each label comes from.

Gold labels are never in it. `ancestors` names every person whose gold label or pseudolabel a
label depends on, directly or through others; few-shot examples count. Reading a finished table
needs no package of a teacher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from leadline.artefact import check_files, read_manifest
from leadline.errors import LeadlineError
from leadline.tables import LABELS, TEACHER_LABELS, check_columns

if TYPE_CHECKING:
    from leadline.teacher.request_store import RequestStore
    from leadline.teacher.rubric import Rating

LABELS_FILE = "labels.parquet"

ANSWERS_KEPT = "Run `leadline label` again with the same --out; answers are kept."

REQUESTS = "requests.sqlite"

SOURCES = ("teacher", "student")


def teacher_labels(store: RequestStore) -> pl.DataFrame:
    """All finished requests as rows of `TEACHER_LABELS`, one per reading and draw."""
    columns: dict[str, list[Any]] = {name: [] for name in TEACHER_LABELS}
    for row in _rows(store):
        for name, value in zip(TEACHER_LABELS, row, strict=True):
            columns[name].append(value)
    return pl.DataFrame(columns, schema=TEACHER_LABELS)


def _rows(store: RequestStore) -> Iterator[tuple[Any, ...]]:
    from leadline.teacher.rubric import parse_rating

    for (
        person,
        as_of,
        first,
        last,
        words,
        teacher,
        draw,
        reply,
        quotes,
        quotes_found,
        kin,
        *costs,
    ) in store.answers():
        rating = parse_rating(reply)
        if rating is None:
            raise LeadlineError(
                "An answer that another version of Leadline took cannot be read by this one.",
                remedy="Go on with the version that began these labels, or choose another --out.",
            )
        setup = json.loads(teacher)
        time = None if as_of is None else datetime.fromisoformat(as_of)
        yield (
            *(person, time, first, last, "teacher", 0, setup["model"], draw),
            *(*rating.scores(), float(rating.total), 1.0, json.loads(kin)),
            *(_confidence(rating), quotes, quotes_found, words),
            *(setup.get("rubric"), setup.get("reasoning", "default"), *costs),
        )


def _confidence(rating: Rating) -> float:
    return sum(item.confidence == "high" for item in rating.items()) / len(rating.items())


def read_labels(path: Path) -> pl.DataFrame:
    """Read the table of a finished LABELS directory, with all columns of `TEACHER_LABELS`.

    What tables of before did not say is null, but for the rubric, which their manifest names.

    Raises:
        LeadlineError: unfinished, of another format, or the table is malformed.
    """
    manifest = read_manifest(path, "labels")
    check_files(path, manifest, [LABELS_FILE], remedy=ANSWERS_KEPT)
    try:
        table = pl.read_parquet(path / LABELS_FILE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "The labels cannot be read.",
            remedy=ANSWERS_KEPT,
            file=path / LABELS_FILE,
        ) from error
    remedy = "Run `leadline label` again with this version of Leadline."
    check_columns(table, LABELS, path / LABELS_FILE, remedy)
    if "rubric" not in table.columns:
        table = table.with_columns(rubric=pl.lit(manifest.get("rubric"), dtype=pl.String()))
    table = with_origin(table)
    check_columns(table, TEACHER_LABELS, path / LABELS_FILE, remedy)
    return table


def with_origin(labels: pl.DataFrame) -> pl.DataFrame:
    """A table of `LABELS` with all columns of `TEACHER_LABELS`, null where it has none."""
    absent = {name: kind for name, kind in TEACHER_LABELS.items() if name not in labels.columns}
    return labels.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in absent.items()
    )


def refuse_locked_labels(labels: pl.DataFrame, locked: frozenset[str]) -> None:
    """Refuse labels of, or descending from, locked test people.

    Raises:
        LeadlineError: any label is of a locked person, has one as an ancestor, or depends on
            its own person's label.
    """
    of_locked = labels.filter(pl.col("person_id").is_in(list(locked))).height
    from_locked = labels.filter(
        pl.col("ancestors").list.eval(pl.element().is_in(list(locked))).list.any()
    ).height
    from_self = labels.filter(pl.col("ancestors").list.contains(pl.col("person_id"))).height
    if of_locked or from_locked or from_self:
        raise LeadlineError(
            f"{of_locked} labels are of locked test people, {from_locked} descend from them, "
            f"and {from_self} depend on their own person's label.",
            remedy="Label again without these people; never edit a labels table by hand.",
        )
