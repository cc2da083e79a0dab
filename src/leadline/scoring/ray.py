"""The Ray engine of `leadline score`: parts made by actors that load the run once.

Ray Data deals out the parts; what travels between processes is which rows of the cohort a part
holds, and what was counted in it. Text goes from the disk to the worker that reads it and
estimates from the worker to the disk, so neither lies in Ray's object store or in its logs.
A worker that dies is started again and its part made anew.

`leadline.cluster` starts Ray or joins it. On a cluster the cohort, the run and the output have to
lie on a file system that all machines see under the same path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.cluster import import_ray, ray_session, worker_environment, workers_and_gpus
from leadline.errors import LeadlineError
from leadline.scoring.blocks import PeopleBlock
from leadline.scoring.config import ScoreConfig
from leadline.scoring.parts import ATTEMPTS
from leadline.scoring.worker import Counts, Scorer, Work

TRIES = 4
"""Times that a part is tried if its worker dies each time; Ray itself would never give up."""

LOADS = f"loads{ATTEMPTS}"

COUNT_COLUMNS = ("people", "silent", "trained_on", "estimates")

PROBLEM = ("problem", "remedy", "file")

Table = dict[str, Any]


class PartMaker:
    """An actor: a `Scorer` that takes and gives tables of one row, as Ray Data hands them out.

    A `LeadlineError` comes back as a row, so that the user reads it as the local engine gives
    it, and not inside a traceback of Ray's.
    """

    def __init__(self, work: Work, threads: int, workers: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.parts = work.parts
        self.scorer: Scorer | LeadlineError
        try:
            with _tries(self.parts.folder / LOADS, TRIES * workers):
                self.scorer = Scorer(work)
        except LeadlineError as error:
            self.scorer = error

    def __call__(self, table: Mapping[str, Any]) -> Table:
        """Make the part of a row (number, begin, rows); its number, counts and problem."""
        block = PeopleBlock(*(int(table[name][0]) for name in ("number", "begin", "rows")))
        counts, problem = dict.fromkeys(COUNT_COLUMNS, 0), dict.fromkeys(PROBLEM, "")
        try:
            if isinstance(self.scorer, LeadlineError):
                raise self.scorer
            with _tries(self.parts.file(block.number).with_suffix(ATTEMPTS), TRIES):
                counts = self.scorer.make(block)
        except LeadlineError as error:
            where = "" if error.file is None else str(error.file)
            problem = dict(zip(PROBLEM, (error.problem, error.remedy, where), strict=True))
        row = {"number": block.number, **counts, **problem}
        return {name: np.array([value]) for name, value in row.items()}


def make_parts(work: Work, blocks: Sequence[PeopleBlock], config: ScoreConfig) -> Iterator[Counts]:
    """Make the parts of `blocks` in Ray workers; the counts of each as it is finished.

    Raises:
        LeadlineError: Ray is not installed or cannot be reached, the cohort is not on disk,
            workers died again and again at the same part, or what the local engine would raise.
    """
    ray = import_ray(config.ray_address)
    if not isinstance(work.turns, Path):
        raise LeadlineError(
            "The Ray engine reads a cohort from the disk.",
            remedy="Give the directory of the cohort, or use --engine local.",
        )
    if not blocks:
        return
    with ray_session(ray, config.ray_address):
        for row in _dataset(ray, _absolute(work, config), blocks, config).iter_rows():
            yield _counts(row, work)


@contextmanager
def _tries(file: Path, most: int) -> Iterator[None]:
    """Note in `file` that the block began, until it ends in any way but the process's death.

    Raises:
        LeadlineError: it began `most` times before and none of them ended.
    """
    with file.open("ab") as stream:
        stream.write(b".")
        begun = stream.tell()
    if begun > most:
        raise LeadlineError(
            f"A worker died {most} times at the same place.",
            remedy="Give each worker more memory (fewer --workers, a smaller --batch-people); "
            "the same command goes on from the finished parts.",
        )
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _absolute(work: Work, config: ScoreConfig) -> Work:
    """The work with paths that do not depend on where a worker runs."""
    assert isinstance(work.turns, Path), "checked by make_parts"
    return replace(
        work,
        turns=work.turns.resolve(),
        run=work.run.resolve(),
        parts=replace(work.parts, folder=work.parts.folder.resolve()),
        home=None if work.home is None else work.home.resolve(),
        # SQLite on a file system that several machines write to is not safe.
        cache=work.cache and not config.ray_address,
    )


def _dataset(ray: Any, work: Work, blocks: Sequence[PeopleBlock], config: ScoreConfig) -> Any:
    """One row a part, made by a pool of actors."""
    resources = ray.cluster_resources()
    workers, gpus = workers_and_gpus(resources, config.workers, len(blocks), config.worker_cpus)
    rows = [asdict(block) for block in blocks]
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        PartMaker,
        batch_size=1,
        fn_constructor_kwargs={"work": work, "threads": config.worker_cpus, "workers": workers},
        # One part at a time for each worker: the last parts are then dealt out evenly.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=config.worker_cpus,
        num_gpus=gpus,
        runtime_env={"env_vars": worker_environment(config.worker_cpus)},
    )


def _counts(row: Mapping[str, Any], work: Work) -> Counts:
    """The counts of a finished part; its problem is raised."""
    if row["problem"]:
        raise LeadlineError(row["problem"], remedy=row["remedy"], file=row["file"] or None)
    if work.parts.counts(int(row["number"])) is None:
        raise LeadlineError(
            "A worker finished a part that is not to be seen from here.",
            remedy="Put the output where all machines of the cluster see the same files.",
            file=work.parts.folder,
        )
    return {name: int(row[name]) for name in COUNT_COLUMNS}
