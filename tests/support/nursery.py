"""Processes of the command line that begin at once and end as they are told: by SIGKILL, or not.

What `leadline` imports takes seconds, so one process imports it and forks: each child runs the
command as `leadline` would, in a process of its own, and dies alone. Orders are lines of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import ROOT

MODULES = ("torch", "leadline.cli.app", "leadline.service.serve", "leadline.monitor.scorer",
           "leadline.monitor.start", "leadline.running.scorer", "leadline.runs.checkpoint",
           "leadline.scoring.score", "leadline.readers.sentence",
           "transformers.models.bert.modeling_bert")  # fmt: skip


class Nursery:
    """Starts commands and kills them.

    Args:
        home: where readers are kept.
    """

    def __init__(self, home: Path) -> None:
        paths = [str(ROOT / "src"), str(ROOT)]
        environment = {**os.environ, "LEADLINE_HOME": str(home), "OMP_NUM_THREADS": "1",
                       "PYTHONPATH": os.pathsep.join(paths)}  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"], cwd=ROOT, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert self._answer() == "ready"
        except BaseException:
            self.close()
            raise

    def start(self, words: list[str], log: Path) -> int:
        """Run `leadline` with these words, its output after what is in `log`; its number."""
        return int(self._ask({"words": words, "log": str(log)}))

    def kill(self, number: int) -> int:
        """SIGKILL; how the process ended: -9, or what it had ended with by itself."""
        return int(self._ask({"kill": number}))

    def close(self) -> None:
        """Kill whoever is left."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def run(words: list[str], log: str) -> None:
    """In the child: the command, and the end of the process."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, old in ((0, nothing), (1, stream), (2, stream)):
        os.dup2(old, target)
    sys.argv = ["leadline", *words]
    code = 0
    try:
        importlib.import_module("leadline.cli.app").main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(code)


def main() -> None:
    """Follow orders until there are no more."""
    for module in MODULES:
        importlib.import_module(module)
    alive: set[int] = set()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "words" in order:
            number = os.fork()
            if number == 0:
                run(order["words"], order["log"])
            alive.add(number)
            answer = number
        else:
            alive.discard(order["kill"])
            answer = end(order["kill"])
        print(json.dumps(answer), flush=True)
    for number in alive:
        end(number)


def end(number: int) -> int:
    """Kill a child; how it ended."""
    os.kill(
        number, signal.SIGKILL
    )  # a child that has ended keeps its number until it is waited for
    _, status = os.waitpid(number, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
