"""The service and a scorer as processes that begin fast, to be killed at any moment.

They are children of a server that has imported everything once: a process that only imports would
be killed before it did anything. What they run is what the verbs run.
"""

import multiprocessing
import signal
import socket
import threading
import warnings
from pathlib import Path

from leadline.monitor import scorer as live
from leadline.monitor.hooks import HookConfig
from leadline.running.scorer import RunningConfig
from leadline.service.serve import ServeConfig, serve
from leadline.store import work
from leadline.store.store import open_store
from leadline.store.times import SECOND
from leadline.store.vault import KeyConfig

QUICK_LEASE = SECOND  # what a killed scorer held is free again after it
PEOPLE_AT_ONCE = 3


def context():
    """Where children come from."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.support.processes"])
    return made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def serve_store(address: str, key: Path, port: int) -> None:
    """What `leadline monitor serve` does."""
    store = open_store(address, KeyConfig(key_file=key))
    serve(store, ServeConfig(port=port), HookConfig())


def score_store(address: str, key: Path, run: Path, states: Path) -> None:
    """What `leadline monitor score` does, with a lease that is over soon."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work.LEASE = live.LEASE = QUICK_LEASE
    store = open_store(address, KeyConfig(key_file=key))
    config = live.ScorerConfig(run, states, RunningConfig(), run.parent / "home", PEOPLE_AT_ONCE)
    live.LiveScorer(store, config).run(threading.Event(), 0.02)
