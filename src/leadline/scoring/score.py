"""`leadline score`: the estimate after every user turn, for a cohort of any size.

The cohort is cut into parts of some people each. A part is read from the disk, scored and
written by itself, so memory does not grow with the cohort, a run that was killed goes on from
its finished parts, and parts can be made by several processes (see `scoring.ray`). Inside a
part people of like length are read together. What is read together depends on the settings
alone, never on the engine, so both engines give the same numbers.

A person whom the run was trained on is estimated only by the models that never saw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from leadline.artefact import sha256
from leadline.cohort.store import Cohort
from leadline.output import check_file
from leadline.progress import Advance, progress_bar
from leadline.runs.checkpoint import CHECKPOINT, check_run
from leadline.runs.estimates import estimates_schema
from leadline.runs.manifest import saw_no_label
from leadline.runs.profiles import ITEMS_FILE, item_models_of
from leadline.scoring.blocks import PeopleBlock, index_cohort
from leadline.scoring.config import ScoreConfig
from leadline.scoring.parts import has_parts, open_parts
from leadline.scoring.worker import Counts, Scorer, Work
from leadline.tables import IDENTIFYING


def score_cohort(
    cohort: Cohort | Path | str,
    run: Path | str,
    out: Path | str,
    config: ScoreConfig | None = None,
    *,
    items: bool = False,
    overwrite: bool = False,
    home: Path | None = None,
) -> Counts:
    """Write the running estimates of everyone in `cohort` to the Parquet file `out`.

    Args:
        cohort: whose text is read; labels are not looked at. The directory of a cohort is read
            some people at a time.
        run: a finished run.
        out: the file to write; it appears whole or not at all.
        config: batch size, engine.
        items: add the profile of the items (`profiles.profile.profile_schema`). Item 9 is there as
            a part of the total: no sign of risk or safety.
        overwrite: replace `out` if it exists.
        home: where readers are kept.

    Returns:
        Counts of people, of people with no text of their own, and of estimates.

    Raises:
        LeadlineError: `out` exists, or the cohort or the run cannot be loaded.

    >>> import polars as pl
    >>> from leadline import score_cohort
    >>> counts = score_cohort("cohort", "run", "estimates.parquet")
    >>> table = pl.read_parquet("estimates.parquet")  # .to_pandas() gives a pandas table
    >>> table.height == counts["estimates"]
    True
    """
    cohort = Path(cohort) if isinstance(cohort, str) else cohort
    run, out, config = Path(run), Path(out), config or ScoreConfig()
    source = cohort.path if isinstance(cohort, Cohort) else cohort
    left_over = not overwrite and out.is_file() and has_parts(out)  # by a kill, perhaps
    check_file(out, [source, run], is_estimates, overwrite=overwrite or left_over)
    check_run(run)
    index = index_cohort(cohort)
    blocks = index.blocks(config.part_people)
    made_by = {
        "model": sha256(run / CHECKPOINT / "model.json"),
        "ledger": sha256(run / "ledger.parquet"),
    }
    settings = {"batch_people": config.batch_people, "part_people": config.part_people}
    schema = estimates_schema(item_models_of(run) if items else None)
    if items:
        made_by["items"] = sha256(run / ITEMS_FILE)
    if saw_no_label(run):
        made_by["labels_seen"] = "0"
    if config.dtype != "run":
        made_by["arithmetic"] = config.dtype
    inputs = {"turns": index.digest, **made_by}
    if left_over and not has_parts(out, settings, inputs):
        check_file(out, [source, run], is_estimates)
    with open_parts(out, settings, inputs, len(blocks)) as parts:
        if left_over and not parts.are_joined(out, schema, made_by):
            check_file(out, [source, run], is_estimates)
        turns = cohort.turns if isinstance(cohort, Cohort) else cohort
        work = Work(turns, run, parts, config.batch_people, config.cache, home, items, config.dtype)
        total = score_parts(work, blocks, config, len(index))
        parts.join(out, schema, made_by)
    return total


def is_estimates(file: Path) -> bool:
    """Whether a file is a Parquet file of estimates, of whatever version."""
    try:
        columns = set(pl.read_parquet_schema(file))
    except (OSError, pl.exceptions.PolarsError):
        return False
    return columns >= IDENTIFYING


def score_parts(
    work: Work, blocks: Sequence[PeopleBlock], config: ScoreConfig, people: int
) -> Counts:
    """Make the parts that are not there yet, and return the counts of all."""
    total = {"people": 0, "silent": 0, "trained_on": 0, "estimates": 0}
    finished_counts = work.parts.finished()
    missing_blocks = [block for block in blocks if block.number not in finished_counts]
    for counts in finished_counts.values():
        total = {name: total[name] + counts[name] for name in total}
    with progress_bar("Scoring", "people") as advance:
        advance(total["people"], people)

        def within(people_read: int, _: int) -> None:
            advance(total["people"] + people_read, people)

        for counts in _made(work, missing_blocks, config, within):
            total = {name: total[name] + counts[name] for name in total}
            advance(total["people"], people)
    return total


def _made(
    work: Work, blocks: Sequence[PeopleBlock], config: ScoreConfig, progress: Advance
) -> Iterator[Counts]:
    """Make the parts of `blocks`; the counts of each as it is finished."""
    if config.engine == "ray":
        from leadline.scoring.ray import make_parts

        yield from make_parts(work, blocks, config)
        return
    scorer = Scorer(work)
    for block in blocks:
        yield scorer.make(block, progress)
