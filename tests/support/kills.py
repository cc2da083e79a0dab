"""Kills at every step that touches names or the disk: what a process that ends there leaves.

A step is a call of one of `STEPS`. `kill_at` ends the work there: `Killed` is raised, and from then
on every step raises it again, so that nothing is cleaned up, as after SIGKILL. Only handles are
closed, and locks with them, as a death does. (A forked child would inherit the locks of polars'
threads and wait for ever.)
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from leadline import output

STEPS: tuple[tuple[Any, str], ...] = (
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "chmod"),
    (shutil, "rmtree"),
    (output, "exchange"),
)


def _watch(before: Callable[[], None], after: Callable[[], None]) -> Callable[[], None]:
    """Have `before` and `after` called around every step; what is returned undoes it."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in STEPS]

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **keywords: Any) -> Any:
            before()
            done = call(*args, **keywords)
            after()
            return done

        return step

    for owner, name, call in originals:
        setattr(owner, name, wrap(call))

    def undo() -> None:
        for owner, name, call in originals:
            setattr(owner, name, call)

    return undo


def steps_of(work: Callable[[], Any]) -> int:
    """How many places to end there are in `work`: one before and one after each step."""
    seen = [0]

    def count() -> None:
        seen[0] += 1

    undo = _watch(count, count)
    try:
        work()
    finally:
        undo()
    return seen[0]


class Killed(BaseException):
    """The process ends here."""


def kill_at(place: int, work: Callable[[], Any]) -> bool:
    """Do `work` and end it at `place`, counted from 0; whether it came there."""
    steps_left = [place]

    def tick() -> None:
        if steps_left[0] <= 0:
            raise Killed
        steps_left[0] -= 1

    undo = _watch(tick, tick)
    try:
        work()
    except Killed:
        return True
    finally:
        undo()
    return False


CALLS = ("rename", "renameat", "renameat2", "fsync", "fdatasync")
"""System calls that give names or reach the disk."""


def can_trace() -> bool:
    """Whether this machine lets strace watch a process."""
    command = ("strace", "-f", "-qq", "-e", "trace=rename", "true")
    return shutil.which("strace") is not None and (
        subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def calls_of(command: Sequence[str], environment: dict[str, str]) -> list[tuple[str, int]]:
    """Run a command; each of its `CALLS` as its name and its number among those of that name."""
    with tempfile.NamedTemporaryFile("r") as log:
        trace = ("strace", "-f", "-qq", "-o", log.name, "-e", f"trace={','.join(CALLS)}")
        subprocess.run([*trace, *command], env=environment, check=True, capture_output=True)
        names = re.findall(r"^\d+ +(\w+)\(", log.read(), re.MULTILINE)
    seen: Counter[str] = Counter()
    places = []
    for name in (name for name in names if name in CALLS):
        seen[name] += 1
        places.append((name, seen[name]))
    return places


def kill_in_call(
    command: Sequence[str], environment: dict[str, str], place: tuple[str, int]
) -> bool:
    """Run a command that is sent SIGKILL in one of its `CALLS`; whether it came there."""
    name, number = place
    inject = f"inject={name}:signal=SIGKILL:when={number}"
    trace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject)
    done = subprocess.run([*trace, *command], env=environment, check=False, capture_output=True)
    return done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
