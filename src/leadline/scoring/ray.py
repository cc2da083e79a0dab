"""The Ray engine of `leadline score`: parts made by actors that load the run once.

Ray Data deals out the parts; what travels between processes is which rows of the cohort a part
holds, and what was counted in it. Text goes from the disk to the worker that reads it and
estimates from the worker to the disk, so neither lies in Ray's object store or in its logs.
A worker that dies is started again and its part made anew.

Without an address Ray is started on this machine for the time of the run: no dashboard, no
usage statistics, and a token without which nobody else can connect. With one, the cohort, the
run and the output have to lie on a file system that all machines see under the same path.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from leadline.errors import LeadlineError, missing_package
from leadline.scoring.blocks import PeopleBlock
from leadline.scoring.config import ScoreConfig
from leadline.scoring.parts import ATTEMPTS
from leadline.scoring.worker import Counts, Scorer, Work

TRIES = 4
"""Times that a part is tried if its worker dies each time; Ray itself would never give up."""

LOADS = f"loads{ATTEMPTS}"

STORE_BYTES = 100_000_000
"""Ray's object store on this machine; only numbers of rows and counts lie there."""

LONGEST = 30
"""Characters of a folder for scratch files: the path of a socket ends at 107."""

NO_WAY_OUT = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
}

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
    ray = _import_ray(config)
    if not isinstance(work.turns, Path):
        raise LeadlineError(
            "The Ray engine reads a cohort from the disk.",
            remedy="Give the directory of the cohort, or use --engine local.",
        )
    if not blocks:
        return
    with ray_session(ray, config):
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
    workers, gpus = _workers(ray.cluster_resources(), config, len(blocks))
    threads = str(config.worker_cpus)
    env = {
        "OMP_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    rows = [asdict(block) for block in blocks]
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        PartMaker,
        batch_size=1,
        fn_constructor_kwargs={"work": work, "threads": config.worker_cpus, "workers": workers},
        # One part at a time for each worker: the last parts are then dealt out evenly.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=config.worker_cpus,
        num_gpus=gpus,
        runtime_env={"env_vars": env},
    )


def _workers(resources: Mapping[str, float], config: ScoreConfig, parts: int) -> tuple[int, int]:
    """How many workers, and how many GPUs each has."""
    gpus = int(resources.get("GPU", 0))
    room = gpus or max(1, int(resources.get("CPU", 1)) // config.worker_cpus)
    return min(config.workers or room, parts), min(gpus, 1)


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


def _import_ray(config: ScoreConfig) -> Any:
    """Ray with Ray Data, told before it is imported to send nothing."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What Ray's own threads have to say on stderr; errors come as exceptions.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if "ray" not in sys.modules:
        # Ray looks at these when it is imported, and its processes inherit them.
        _authenticate(config)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_package("ray", "cluster", "The Ray engine") from error
    return ray


def _authenticate(config: ScoreConfig) -> None:
    """Have Ray's token asked for and shown, unless the environment says otherwise."""
    if not config.ray_address:
        # Ray listens on every network interface; without the token nobody gets in.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        return
    # A cluster asks for a token by default; a driver shows one only when it is told to.
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def ray_session(ray: Any, config: ScoreConfig) -> Iterator[None]:
    """Ray at the given address or on this machine; one that was running already stays."""
    is_ours = not ray.is_initialized()
    scratch = _scratch() if is_ours and not config.ray_address else None
    if is_ours:
        start_ray(ray, config, scratch)
    context = ray.data.DataContext.get_current()
    quiet = {"enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in quiet}
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        for name, value in quiet.items():
            setattr(context, name, value)
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)
        if is_ours:
            ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _scratch() -> Path:
    """A folder for Ray's logs and sockets that nobody else may enter, with a short path."""
    folder = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="ll-", dir=folder if len(folder) < LONGEST else "/tmp"))


@contextmanager
def _no_way_out() -> Iterator[None]:
    """Give the processes that are started a proxy where nobody listens.

    Ray asks clouds' metadata addresses where it runs, usage statistics or not.
    """
    before = {name: os.environ.get(name) for name in NO_WAY_OUT}
    os.environ.update(NO_WAY_OUT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start_ray(ray: Any, config: ScoreConfig, scratch: Path | None = None) -> None:
    """Connect to the cluster of `config`, or start Ray here with its files in `scratch`."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not config.ray_address:
        with _no_way_out():
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                # Ray would ask which way to a public address to find its own.
                _node_ip_address="127.0.0.1",
                _temp_dir=None if scratch is None else str(scratch),
                **quiet,
            )
        return
    try:
        ray.init(address=config.ray_address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LeadlineError(
            f"The Ray cluster cannot be reached ({type(error).__name__}).",
            remedy="Check --ray-address (on a machine of the cluster it is auto), and the "
            "cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN.",
        ) from error
