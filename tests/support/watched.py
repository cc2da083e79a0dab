"""A command in a process that has no route, watched for every connection and look-up.

Three nets, the finer ones where the machine permits them: an audit hook in every Python of the
command, a network namespace of its own with nothing but the loopback, and strace for what native
code does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import ROOT

SERVING = (str(ROOT / "tests" / "support" / "watch" / "serving.py"),)

WATCH = ROOT / "tests" / "support" / "watch"

PROGRAM = ("-m", "leadline")

CALLS = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(")

ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|AF_INET6, )"([^"]+)"')

INWARD = ("127.", "::1", "::ffff:127.", "0.0.0.0")


@dataclass(frozen=True)
class Watched:
    """What a command did: its exit code, what it printed, whom it asked for."""

    code: int
    out: str
    err: str
    outward: tuple[str, ...]


@cache
def namespace() -> tuple[str, ...]:
    """What starts a command in a network namespace with the loopback alone; empty if forbidden."""
    prefix = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    return prefix if _runs(*prefix, "true") else ()


@cache
def tracer() -> tuple[str, ...]:
    prefix = ("strace", "-f", "-qq", "--seccomp-bpf", "-s", "200", "-e", "trace=%network")
    return prefix if _runs(*prefix, "true") else ()


def _runs(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def watched(
    folder: Path, *arguments: object, isolated: bool = True, program: tuple[str, ...] | None = None
) -> Watched:
    """Run ``leadline ARGUMENTS`` with home, cache and scratch in `folder`.

    Args:
        folder: there is a folder ``home`` and a folder ``scratch`` in it.
        arguments: of the command line.
        isolated: without any network; False leaves the loopback of the machine.
        program: what Python runs, where it is not `PROGRAM`.
    """
    log, trace = folder / "watched.log", folder / "watched.trace"
    for file in (log, trace):
        file.unlink(missing_ok=True)
    prefix = namespace() if isolated else ()
    if tracer():
        prefix = (*prefix, *tracer(), "-o", str(trace))
    command = [sys.executable, *(program or PROGRAM), *map(str, arguments)]
    done = subprocess.run(
        [*prefix, *command], capture_output=True, text=True, check=False, cwd=folder,
        env=_environment(folder, log),
    )  # fmt: skip
    outward = log.read_text().splitlines() if log.exists() else []
    outward += _traced(trace) if trace.exists() else []
    return Watched(done.returncode, done.stdout, done.stderr, tuple(outward))


def _environment(folder: Path, log: Path) -> dict[str, str]:
    unset = ("HF_HUB_OFFLINE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ORT_DISABLE_TELEMETRY")
    kept_variables = {name: value for name, value in os.environ.items() if name not in unset}
    return {
        **kept_variables,
        "PYTHONPATH": os.pathsep.join([str(WATCH), str(ROOT / "src"), str(ROOT)]),
        "HOME": str(folder / "home"),
        "LEADLINE_HOME": str(folder / "home" / "leadline"),
        "TMPDIR": str(folder / "scratch"),
        "WATCHED_LOG": str(log),
    }


def _traced(trace: Path) -> list[str]:
    calls = [line for line in trace.read_text(errors="replace").splitlines() if CALLS.search(line)]
    found = (ADDRESS.search(line) for line in calls)
    return [
        f"{match[2]} port {match[1]}"
        for match in found
        if match is not None and not match[2].startswith(INWARD)
    ]
