"""What a cohort holds: counts, lengths, dates, labels, gaps and what looks suspicious."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from leadline.cohort.languages import language_facts, language_names
from leadline.cohort.lock_record import read_history
from leadline.cohort.masking import cohort_spans
from leadline.cohort.near_copies import group_counts
from leadline.cohort.store import Cohort
from leadline.cohort.windows import undated_counts
from leadline.cohort.words import words_of
from leadline.phq9.change import ChangeConfig, change_sign, smallest_change
from leadline.phq9.items import BANDS
from leadline.phq9.scoring import band_index

WINDOW_DAYS = 14.0

NEVER, ALWAYS = datetime(9999, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)

COPIED_CHARS = 40  # shorter texts ("ok", "I don't know") are the same by chance


def inspect_cohort(
    cohort: Cohort,
    window_days: float = WINDOW_DAYS,
    change: ChangeConfig | None = None,
    *,
    undated: bool = False,
) -> dict[str, Any]:
    """Describe a cohort as plain data that can be written as JSON; no text, no names.

    Args:
        cohort: a cohort in memory.
        window_days: days before a PHQ-9 in which text counts towards it.
        change: which difference between two PHQ-9s counts as a reliable change.
        undated: text and PHQ-9s without a time count as `WindowConfig.undated` says.
    """
    turns, phq9, people = cohort.turns, cohort.phq9, cohort.people
    without_time = undated_counts(cohort)
    people_with_text = set(turns["person_id"].unique())
    people_with_labels = set(phq9["person_id"].unique())
    return {
        "simulated": cohort.simulated,
        "people": people.height,
        "locked": int(people["locked"].sum()),
        **_locked_test(cohort),
        "conversations": turns.select("person_id", "conversation_id").n_unique(),
        "turns": turns.height,
        "languages": language_facts(turns),
        "roles": dict(turns["role"].value_counts(sort=True).iter_rows()),
        "per_person": _per_person(turns),
        "dates": _dates(turns),
        "labels": _labels(phq9),
        "changes": _changes(phq9, change or ChangeConfig()),
        "gaps": {
            "people_without_text": sum(
                person not in people_with_text for person in people["person_id"]
            ),
            "people_without_labels": sum(p not in people_with_labels for p in people["person_id"]),
            "labels_without_text_in_window": _without_text(turns, phq9, window_days, undated),
            "window_days": window_days,
            "turns_without_date_beside_dated_labels": without_time["turns"],
            "labels_without_date_beside_dates": without_time["labels"],
            "turns_out_of_order": _out_of_order(turns),
        },
        "duplicates": {
            **_duplicates(turns),
            "near_copies": {
                **group_counts(cohort.copy_groups),
                "open_copies_of_locked": len(cohort.copies_of_locked),
            },
        },
        "questionnaire": _questionnaire(turns),
        "import": cohort.manifest.get("import", {}),
    }


def _spread(values: pl.Series) -> dict[str, float]:
    """Minimum, quartiles and maximum; empty without values."""
    if not len(values):
        return {}
    quantile = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
    return {
        name: float(values.cast(pl.Float64).quantile(share, "linear") or 0.0)
        for name, share in quantile.items()
    }


def _per_person(turns: pl.DataFrame) -> dict[str, dict[str, float]]:
    words = words_of("text")
    by_person = (
        turns.lazy()
        .group_by("person_id")
        .agg(
            conversations=pl.col("conversation_id").n_unique(),
            turns=pl.len(),
            user_turns=(pl.col("role") == "user").sum(),
            user_words=words.filter(pl.col("role") == "user").sum(),
        )
        .collect()
    )
    return {name: _spread(by_person[name]) for name in by_person.columns[1:]}


def _dates(turns: pl.DataFrame) -> dict[str, Any]:
    times = turns["time"]
    first, last = times.min(), times.max()
    gaps = (
        turns.lazy()
        .filter(pl.col("time").is_not_null())
        .group_by("person_id", "conversation_id")
        .agg(pl.col("time").min())
        .sort("person_id", "time")
        .select(gap=pl.col("time").diff().over("person_id").dt.total_seconds() / 86_400)
        .collect()["gap"]
        .drop_nulls()
    )
    return {
        "first": None if first is None else str(first),
        "last": None if last is None else str(last),
        "turns_without_date": int(times.null_count()),
        "days_between_conversations": _spread(gaps),
    }


def _labels(phq9: pl.DataFrame) -> dict[str, Any]:
    totals = phq9["total"].drop_nulls()
    bands = pl.Series(band_index(totals.to_numpy()), dtype=pl.Int64)
    per_person = phq9.group_by("person_id").len()["len"]
    return {
        "count": phq9.height,
        "people": phq9["person_id"].n_unique(),
        "per_person": _spread(per_person),
        "instruments": dict(phq9["instrument"].value_counts(sort=True).iter_rows()),
        "prorated": int(phq9["prorated"].sum()),
        "without_items": int(phq9["item_1"].null_count()),
        "without_date": int(phq9["time"].null_count()),
        "mean": None if totals.mean() is None else float(totals.to_numpy().mean()),
        "sd": float(totals.to_numpy().std(ddof=1)) if len(totals) > 1 else None,
        "bands": {name: int((bands == place).sum()) for place, (name, _, _) in enumerate(BANDS)},
    }


def _changes(phq9: pl.DataFrame, config: ChangeConfig) -> dict[str, Any]:
    """Each PHQ-9 against the same person's one before it, where both are dated and complete."""
    totals = (
        phq9.filter(pl.col("instrument") == "phq9")
        .drop_nulls(["time", "total"])
        .sort("person_id", "time", maintain_order=True)
    )
    pairs = totals.with_columns(before=pl.col("total").shift().over("person_id")).drop_nulls(
        "before"
    )
    sign = change_sign(pairs["before"].to_numpy(), pairs["total"].to_numpy(), config)
    return {
        "people": pairs["person_id"].n_unique(),
        "pairs": pairs.height,
        "smallest_reliable_change": round(smallest_change(config), 2),
        "improved": int((sign < 0).sum()),
        "unchanged": int((sign == 0).sum()),
        "worsened": int((sign > 0).sum()),
    }


def _without_text(turns: pl.DataFrame, phq9: pl.DataFrame, days: float, undated: bool) -> int:
    """Labels with no word of the person in the window: those without a reading of `windows`.

    The last turn of a reading is the last before which nothing may be later than the label; there
    is a reading if that turn is not too old.
    """
    labels = phq9.lazy().with_row_index("label").select("label", "person_id", "time")
    user_turns = _said_by(turns, labels, undated).select(
        "person_id", "said_by", "any_date", "place", said="time"
    )
    free = pl.lit(undated) | ~pl.col("any_date")
    before = pl.when(pl.col("time").is_null()).then(free).otherwise("said_before")
    last = (
        labels.join(user_turns, on="person_id")
        .with_columns(said_before=pl.col("said_by") <= pl.col("time"))
        .filter(before)
        .group_by("label")
        .agg(pl.col("time").first(), pl.col("said").sort_by("place").last())
    )
    old = pl.col("said") <= pl.col("time") - pl.duration(seconds=days * 86_400)
    covered = last.filter(~old.fill_null(False) | pl.lit(days == 0)).select(pl.len())
    return int(phq9.height - covered.collect(engine="streaming").item())


def _said_by(turns: pl.DataFrame, labels: pl.LazyFrame, undated: bool) -> pl.LazyFrame:
    """The user turns with ``said_by``, when all up to each had been said at the latest.

    Also ``place``, their order, and ``any_date``: the person has dated text or a dated label.
    """
    has_time = pl.col("time").is_not_null()
    owners = labels.filter(has_time).select("person_id", dated_label=True).unique()
    return (
        turns.lazy()
        .join(owners, on="person_id", how="left", maintain_order="left")
        .with_columns(pl.col("dated_label").fill_null(False))
        .filter(has_time | (pl.col("role") == "user") | ~pl.col("dated_label") | undated)
        .with_columns(
            said_by=pl.col("time")
            .fill_null(ALWAYS if undated else NEVER)
            .cum_max()
            .over("person_id"),
            any_date=(has_time | pl.col("dated_label")).any().over("person_id"),
            place=pl.int_range(pl.len()),
        )
        .filter(pl.col("role") == "user")
    )


def _out_of_order(turns: pl.DataFrame) -> int:
    """Turns with a time before that of a turn that stands before them."""
    times = turns.lazy().filter(pl.col("time").is_not_null())
    earlier = pl.col("time") < pl.col("time").cum_max().over("person_id")
    return int(times.filter(earlier).select(pl.len()).collect().item())


def _duplicates(turns: pl.DataFrame) -> dict[str, Any]:
    """Long texts said by several people, and conversations that occur more than once."""
    user = turns.lazy().filter(
        (pl.col("role") == "user") & (pl.col("text").str.len_chars() >= COPIED_CHARS)
    )
    shared = user.group_by(pl.col("text").hash()).agg(pl.col("person_id").n_unique())
    conversations = (
        turns.lazy()
        .select("person_id", "conversation_id", code=pl.struct("role", "text").hash())
        .group_by("person_id", "conversation_id", maintain_order=True)
        .agg("code")
        .select(pl.col("code").hash())
        .group_by("code")
        .agg(count=pl.len())
    )
    return {
        "texts_of_several_people": int(
            shared.filter(pl.col("person_id") > 1).select(pl.len()).collect().item()
        ),
        "repeated_conversations": int(
            conversations.select((pl.col("count") - 1).sum()).collect().item()
        ),
    }


def _locked_test(cohort: Cohort) -> dict[str, int]:
    """How often the locked test was opened, and how many tests were dropped before it."""
    if cohort.path is None:
        return {"openings": 0, "locks_dropped": 0}
    history = read_history(cohort.path, cohort.manifest)
    return {"openings": len(history.openings()), "locks_dropped": history.dropped()}


def _questionnaire(turns: pl.DataFrame) -> dict[str, Any]:
    spans = cohort_spans(turns)
    return {
        "spans": spans.height,
        "people": spans["person_id"].n_unique(),
        "reasons": dict(spans["reason"].value_counts(sort=True).iter_rows()),
    }


def render_inspection(inspection: Mapping[str, Any]) -> RenderableType:
    """The result of `inspect_cohort` as rich tables."""
    overview = Table(title="Cohort", show_header=False)
    for name in ("people", "locked", "conversations", "turns"):
        overview.add_row(name, f"{inspection[name]:,}")
    for name in ("openings", "locks_dropped"):
        if inspection[name]:
            overview.add_row(f"locked test: {name.replace('_', ' ')}", f"{inspection[name]:,}")
    for role, count in inspection["roles"].items():
        overview.add_row(f"turns of role {role}", f"{count:,}")
    overview.add_row("languages of the people", language_names(inspection["languages"]["people"]))
    dates = inspection["dates"]
    overview.add_row("first turn", str(dates["first"] or "no dates"))
    overview.add_row("last turn", str(dates["last"] or "no dates"))
    overview.add_row("turns without a date", f"{dates['turns_without_date']:,}")
    return Group(
        overview,
        _spreads(inspection),
        _label_table(inspection["labels"]),
        _change_table(inspection["changes"]),
        _warnings(inspection),
    )


def _spreads(inspection: Mapping[str, Any]) -> Table:
    table = Table("", "min", "25%", "median", "75%", "max", title="Per person")
    rows = {
        **inspection["per_person"],
        "labels": inspection["labels"]["per_person"],
        "days between conversations": inspection["dates"]["days_between_conversations"],
    }
    for name, spread in rows.items():
        values = [f"{value:,.1f}" for value in spread.values()] or ["-"] * 5
        table.add_row(name.replace("_", " "), *values)
    return table


def _label_table(labels: Mapping[str, Any]) -> Table:
    table = Table("band", "labels", title=f"PHQ-9 labels: {labels['count']:,}")
    for name, count in labels["bands"].items():
        table.add_row(name, f"{count:,}")
    if labels["mean"] is not None and labels["sd"] is not None:
        table.caption = f"mean {labels['mean']:.1f}, SD {labels['sd']:.1f}"
    return table


def _change_table(changes: Mapping[str, Any]) -> Table:
    table = Table(title="From one PHQ-9 to the next", show_header=False)
    table.add_row("pairs", f"{changes['pairs']:,} of {changes['people']:,} people")
    for sign in ("improved", "unchanged", "worsened"):
        table.add_row(sign, f"{changes[sign]:,}")
    points = changes["smallest_reliable_change"]
    table.caption = (
        f"a change counts from {points:.1f} points: less may be the questionnaire's noise"
    )
    return table


def _warnings(inspection: Mapping[str, Any]) -> Table:
    gaps, duplicates = inspection["gaps"], inspection["duplicates"]
    spans = inspection["questionnaire"]
    table = Table(title="To look at", show_header=False)
    table.add_row("people without text", f"{gaps['people_without_text']:,}")
    table.add_row("people without a label", f"{gaps['people_without_labels']:,}")
    table.add_row(
        f"labels without text in the {gaps['window_days']:g} days before",
        f"{gaps['labels_without_text_in_window']:,}",
    )
    for name in (
        "turns_without_date_beside_dated_labels",
        "labels_without_date_beside_dates",
        "turns_out_of_order",
    ):
        table.add_row(name.replace("_", " "), f"{gaps[name]:,}")
    table.add_row("texts said by several people", f"{duplicates['texts_of_several_people']:,}")
    table.add_row("repeated conversations", f"{duplicates['repeated_conversations']:,}")
    copies = duplicates["near_copies"]
    table.add_row(
        "people whose words are near-copies of another's",
        f"{copies['people']:,} ({copies['groups']:,} groups)",
    )
    if copies["open_copies_of_locked"]:
        table.add_row("of them copies of locked people", f"{copies['open_copies_of_locked']:,}")
    table.add_row("questionnaire-like spans", f"{spans['spans']:,} ({spans['people']:,} people)")
    for warning in inspection["languages"]["warnings"]:
        table.add_row("language", warning)
    table.add_row("rows left out at import", f"{inspection['import'].get('left_out', 0):,}")
    return table
