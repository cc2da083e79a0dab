"""Who is compared with whom: a locked test set and folds, always whole persons.

Folds are stratified by the severity of each person (the mean of their PHQ-9 totals, in
bands) so that each fold sees the whole range; the assignment depends on the seed and on the
set of person ids, not on the order of rows. Whoever has a fold keeps it when people are added.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError

FEWEST_PEOPLE = 10
"""Labelled people who are not locked, below which nothing is trained: a 90% interval takes nine
people to vouch for it who are not in the fold, and no correlation is printed of fewer than ten."""

STRATUM_WIDTH = 3.0  # PHQ-9 points; narrower than a band, so that folds match within bands too


def person_severity(readings: pl.DataFrame) -> pl.DataFrame:
    """Mean gold total of each person: columns person_id, severity; sorted by person_id."""
    return (readings.group_by("person_id").agg(pl.col("total").mean().alias("severity"))).sort(
        "person_id"
    )


def _as_one(readings: pl.DataFrame, groups: Mapping[str, str]) -> pl.DataFrame:
    """`readings` with one id for all people of a group."""
    return readings.with_columns(pl.col("person_id").replace(dict(groups)))


def person_folds(
    readings: pl.DataFrame,
    folds: int,
    seed: int,
    old_folds: Mapping[str, int] | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Assign each person of `readings` to one of `folds` folds, stratified by severity.

    Args:
        readings: table with person_id and total; several rows of a person stay together.
        folds: number of folds, at least 2.
        seed: another seed is another assignment.
        old_folds: people who have a fold already. They keep it, and each new person goes, in the
            order of severity, to the fold with the fewest people of their stratum, or of all.
        groups: person -> group, for people who count as one person (`Cohort.copy_groups`). A
            group keeps the fold of the first of them who has one.

    Raises:
        LeadlineError: fewer than `FEWEST_PEOPLE`, or than two people per fold, or a fold that
            would be empty.
    """
    groups = groups or {}
    people = person_severity(_as_one(readings, groups))
    if people.height < FEWEST_PEOPLE:
        raise LeadlineError(
            f"{people.height} people with a PHQ-9 and text before it are there to train on; at "
            f"least {FEWEST_PEOPLE} are needed.",
            remedy="Add people with PHQ-9s, lock fewer of them, or estimate these people with a "
            "run that was trained on others: leadline score.",
        )
    if folds < 2 or people.height < 2 * folds:
        raise LeadlineError(
            f"{people.height} labelled people cannot be split into {folds} folds.",
            remedy="Use --folds of 2 or more and at least two labelled people for each fold.",
        )
    order = _stratified_order(people, seed)
    names = people["person_id"].to_list()
    everyone = sorted(set(readings["person_id"]))
    assigned: dict[str, int] = {}
    for name in everyone:
        if name in (old_folds or {}):
            assigned.setdefault(groups.get(name, name), (old_folds or {})[name])
    if assigned:
        strata = dict(zip(names, _strata(people).tolist(), strict=True))
        deal_folds([names[row] for row in order], folds, assigned, strata)
    else:
        assigned = {names[row]: position % folds for position, row in enumerate(order)}
    if len(set(assigned.values())) < folds:
        raise LeadlineError(
            f"One of the {folds} folds that this cohort keeps holds nobody of these people.",
            remedy="Use another --seed or number of --folds: folds are then drawn anew.",
        )
    return {name: assigned[groups.get(name, name)] for name in everyone}


def deal_folds(
    names: Sequence[str],
    folds: int,
    assigned: dict[str, int],
    strata: Mapping[str, int] | None = None,
) -> None:
    """Give everyone in `names` who has no fold in `assigned` one, in order.

    It is the fold with the fewest people of the same stratum, of these with the fewest people,
    of these the first.
    """
    stratum = strata or dict.fromkeys([*names, *assigned], 0)
    here = [name for name in names if name in assigned]
    of_stratum = Counter((stratum[name], assigned[name]) for name in here)
    of_all = Counter(assigned[name] for name in here)
    for name in names:
        if name not in assigned:
            level = stratum[name]
            fold = min(range(folds), key=lambda f: (of_stratum[level, f], of_all[f], f))
            assigned[name] = fold
            of_stratum[level, fold] += 1
            of_all[fold] += 1


def choose_locked(
    readings: pl.DataFrame,
    share: float,
    seed: int,
    *,
    by: str = "severity",
    file: Path | None = None,
    groups: Mapping[str, str] | None = None,
) -> frozenset[str]:
    """Choose the people who become the locked test.

    Args:
        readings: table of `windows.READINGS` of the labels that can be evaluated; its people are
            eligible, and strata and share are theirs.
        share: of these people, strictly between 0 and 1.
        seed: of the draw; unused with ``by="time"``.
        by: ``severity`` draws within strata of severity, ``time`` takes the people whose
            first PHQ-9 came last. People who begin at the same time stay together, so the
            number is the nearest to the share that times allow.
        file: the cohort, for messages.
        groups: person -> group, for people who count as one person (`Cohort.copy_groups`);
            everyone of a group is chosen, also who is not in `readings`.

    Raises:
        LeadlineError: a share that is none, fewer than two such people, or with
            ``by="time"`` a PHQ-9 without a date or no first PHQ-9 later than another.
    """
    if not 0 < share < 1:
        raise LeadlineError(
            f"The locked share is {share}.", remedy="Use --share between 0 and 1, such as 0.2."
        )
    if by not in ("severity", "time"):
        raise LeadlineError(f"--by is {by!r}.", remedy="Use severity or time.")
    groups = groups or {}
    readings = _as_one(readings, groups)
    people = person_severity(readings)
    if people.height < 2:
        raise LeadlineError(
            f"{people.height} people have a PHQ-9 total with text before it.",
            remedy="Lock a test in a cohort with at least two such people; import PHQ-9s "
            "with --phq9, look at it with leadline inspect, widen --days, or lock PHQ-8 totals "
            "with --include-phq8.",
            file=file,
        )
    if by == "time":
        return _members(_latest(readings, share, file), groups)
    order = _stratified_order(people, seed)
    names = people["person_id"].to_list()
    count = _locked_count(share, len(names))
    # Every k-th person of the severity-sorted order is an even draw over severity.
    picks = np.floor((np.arange(count) + 0.5) * len(names) / count).astype(int)
    return _members(frozenset(names[order[pick]] for pick in picks), groups)


def _members(chosen: frozenset[str], groups: Mapping[str, str]) -> frozenset[str]:
    """The people of the chosen groups, and the chosen people who are in none."""
    return frozenset(p for p, group in groups.items() if group in chosen) | chosen


def _locked_count(share: float, people: int) -> int:
    """At least one person is locked and at least one is left to train on."""
    return min(max(1, round(share * people)), people - 1)


def _latest(readings: pl.DataFrame, share: float, file: Path | None) -> frozenset[str]:
    undated = readings.filter(pl.col("time").is_null())["person_id"].n_unique()
    if undated:
        raise LeadlineError(
            f"{undated} labelled people have an undated PHQ-9.",
            remedy="Use --by severity, or give every PHQ-9 a date.",
            file=file,
        )
    first = readings.group_by("person_id").agg(pl.col("time").min())
    starts = first["time"].unique().sort()[1:]  # someone begins before each of these
    if starts.is_empty():
        raise LeadlineError(
            "Everyone's first PHQ-9 is of the same time, so there is no later period.",
            remedy="Use --by severity.",
            file=file,
        )
    target_count = _locked_count(share, first.height)
    counts = np.array([int((first["time"] >= start).sum()) for start in starts])
    cutoff = starts[int(np.abs(counts - target_count).argmin())]
    return frozenset(first.filter(pl.col("time") >= cutoff)["person_id"])


def _stratified_order(people: pl.DataFrame, seed: int) -> npt.NDArray[np.int64]:
    """Rows sorted by severity stratum, and at random (by seed and id) within a stratum."""
    strata = _strata(people)
    draw = [random_place(seed, name) for name in people["person_id"]]
    return np.array(sorted(range(len(draw)), key=lambda row: (strata[row], draw[row])))


def _strata(people: pl.DataFrame) -> npt.NDArray[np.int64]:
    return (people["severity"].to_numpy() // STRATUM_WIDTH).astype(np.int64)


def falls_in_share(person_id: str, share: float, seed: int) -> bool:
    """Whether a person who came after the draw belongs to the locked test.

    It depends on the seed, the share and the id alone, never on who else came or what they
    answered, and was the same had the person come later.
    """
    place = hashlib.sha256(f"{seed}\x1flocked\x1f{person_id}".encode()).digest()
    return int.from_bytes(place[:8]) / 2.0**64 < share


def random_place(seed: int, person_id: str) -> bytes:
    """Sort key of a random order of people that depends on the seed and each id alone."""
    return hashlib.sha256(f"{seed}\x1f{person_id}".encode()).digest()


def refuse_locked_people(person_ids: set[str], cohort: Cohort, purpose: str) -> None:
    """Raise if any of `person_ids` is a locked test person of the cohort."""
    caught = person_ids & cohort.locked_ids
    if caught:
        raise LeadlineError(
            f"{len(caught)} locked test people would be used for {purpose}.",
            remedy="Leave the locked people out; they serve only the final evaluation.",
            file=cohort.path,
        )
