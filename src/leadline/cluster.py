"""Ray: started here or joined, silent towards everybody else, and left as it was found.

Without an address Ray is started on this machine for the time of the work: no dashboard, no usage
statistics, its files in a closed folder that goes, and a token without which nobody else can
connect. With one, what the workers read and write has to lie on a file system that all machines
see under the same path.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError, missing_package
from leadline.settings import check_choices, setting

LOCAL, RAY = "local", "ray"

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


@dataclass(frozen=True)
class ClusterConfig:
    """Where work that falls into parts is done."""

    engine: str = setting(
        LOCAL, "Where it runs: in this process, or in Ray workers.", choices=(LOCAL, RAY)
    )
    ray_address: str = setting(
        "", "Ray cluster to run on; without it workers are started on this machine."
    )
    workers: int = setting(0, "Ray workers (0: one a GPU, or as many as the cores allow).", least=0)

    def __post_init__(self) -> None:
        check_choices(self)
        check_engine(self.engine, self.ray_address, self.workers)


def check_engine(engine: str, ray_address: str, workers: int) -> None:
    """Refuse settings of Ray where Ray is not asked for.

    Raises:
        LeadlineError: they are given.
    """
    options = {"--ray-address": ray_address, "--workers": workers}
    flags = [flag for flag, option in options.items() if option]
    if engine != RAY and flags:
        raise LeadlineError(
            f"{flags[0]} with --engine {engine}.",
            remedy=f"Add --engine ray, or leave {flags[0]} out.",
        )


def workers_and_gpus(
    resources: Mapping[str, float], workers: int, parts: int, cpus: int = 1
) -> tuple[int, int]:
    """How many workers there are for some parts, and how many GPUs each has.

    Args:
        resources: of the cluster, as Ray gives them.
        workers: as asked for; 0 is one a GPU, or as many as the cores allow.
        parts: of the work; more workers than parts are of no use.
        cpus: cores of each worker.
    """
    gpus = int(resources.get("GPU", 0))
    room = gpus or max(1, int(resources.get("CPU", 1)) // cpus)
    return min(workers or room, parts), min(gpus, 1)


def worker_environment(threads: int) -> dict[str, str]:
    """Environment of a worker's process: its threads, and nothing that asks the network."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "POLARS_MAX_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def import_ray(address: str) -> Any:
    """Ray with Ray Data, told before it is imported to send nothing."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What Ray's own threads have to say on stderr; errors come as exceptions.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if "ray" not in sys.modules:
        # Ray looks at these when it is imported, and its processes inherit them.
        _authenticate(address)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_package("ray", "cluster", "The Ray engine") from error
    return ray


def _authenticate(address: str) -> None:
    """Have Ray's token asked for and shown, unless the environment says otherwise."""
    if not address:
        # Ray listens on every network interface; without the token nobody gets in.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        return
    # A cluster asks for a token by default; a driver shows one only when it is told to.
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def ray_session(ray: Any, address: str) -> Iterator[None]:
    """Ray at the given address or on this machine; one that was running already stays."""
    is_ours = not ray.is_initialized()
    scratch = _scratch() if is_ours and not address else None
    if is_ours:
        start_ray(ray, address, scratch)
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


def start_ray(ray: Any, address: str, scratch: Path | None = None) -> None:
    """Connect to the cluster at `address`, or start Ray here with its files in `scratch`."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
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
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LeadlineError(
            f"The Ray cluster cannot be reached ({type(error).__name__}).",
            remedy="Check --ray-address (on a machine of the cluster it is auto), and the "
            "cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN.",
        ) from error
