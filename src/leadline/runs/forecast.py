"""How long reading will take, said before or in its first seconds, by the speed of this machine.

The speed of each reader is kept beside the states: from the second reading on it is known before
the first token. The first time it is taken from the first seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import torch

from leadline.artefact import private_folder, write_json
from leadline.cohort.timeline import Timeline
from leadline.heads.design import PersonStates
from leadline.progress import Bar, in_words, progress_bar
from leadline.readers.fetch import leadline_home
from leadline.readers.language import LMReader
from leadline.readers.protocol import Reader
from leadline.runs.state_source import StateSource

SPEEDS = "speeds.json"

WORTH_SAYING = 60.0
"""Seconds of reading from which on they are announced."""

FIRST_SECONDS, LEAST_TOKENS = 3.0, 2_000
"""After so long a speed is believed, and from so many tokens on it is kept."""


def read_people(
    source: StateSource, people: Sequence[Timeline], what: str = "Reading"
) -> list[PersonStates]:
    """Turn states of people behind a bar of tokens, with how long it will take."""
    with progress_bar(what, "tokens") as bar:
        forecast = Forecast(source, bar)
        states = source.read(people, forecast)
        forecast.keep()
        return states


def read_states(
    source: StateSource | None, people: Sequence[Timeline]
) -> list[PersonStates] | None:
    """Turn states of people by the readers of a frozen run; None of an adapted one."""
    return None if source is None else read_people(source, people)


class Forecast:
    """Moves a bar of tokens on, and says once how long a long reading will take."""

    def __init__(self, source: StateSource, bar: Bar) -> None:
        self.bar, self.home = bar, source.home
        self.waiting = list(zip(source.names, source.readers, strict=True))
        self.measured: dict[str, float] = {}
        self.position, self.start, self.said = 0, monotonic(), False
        self._next_reader()

    def __call__(self, position: int, total: int) -> None:
        if position < self.position:
            self._next_reader()
        self.bar(position, total)
        self.position = position
        seconds = monotonic() - self.start
        if position >= LEAST_TOKENS and seconds >= FIRST_SECONDS:
            self.measured[_key(self.reader)] = position / seconds
        if self.said or not total:
            return
        if position == 0 and self.kept is not None:
            self._say(total, self.kept, "as this machine read before")
        elif position and seconds >= FIRST_SECONDS:
            self._say(total, position / seconds, "by its first seconds")

    def keep(self) -> None:
        """Remember the speeds that were measured; another process may do so at the same time."""
        if self.measured:
            folder = private_folder(leadline_home(self.home) / "states")
            passing = folder / f"{SPEEDS}.{os.getpid()}"
            write_json(passing, kept_speeds(self.home) | self.measured)
            passing.replace(folder / SPEEDS)

    def _next_reader(self) -> None:
        if self.waiting:
            self.name, self.reader = self.waiting.pop(0)
        self.kept = kept_speeds(self.home).get(_key(self.reader))
        self.position, self.start, self.said = 0, monotonic(), False

    def _say(self, tokens: int, speed: float, how: str) -> None:
        self.said = True
        if tokens / speed < WORTH_SAYING:
            return
        line = (
            f"Reading some {tokens:,} tokens with {self.name} takes about "
            f"{in_words(tokens / speed)}, {how}: {speed:,.0f} tokens a second. States are kept; a "
            "reading that is stopped goes on."
        )
        if isinstance(self.reader, LMReader) and self.reader.dtype == torch.float32:
            line += " MiniLM (--reader minilm) takes a tenth of that, and estimates less well."
        self.bar.say(line)


def kept_speeds(home: Path | None) -> dict[str, float]:
    """Tokens a second by reader, as measured last; nothing where none is kept or it is damaged."""
    try:
        text = (leadline_home(home) / "states" / SPEEDS).read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(k): float(v) for k, v in content.items() if isinstance(v, (int, float)) and v > 0}


def _key(reader: Reader) -> str:
    """A reader on so many threads: its speed on one tells little of that on eight."""
    return f"{reader.identity[:32]}:{torch.get_num_threads()}"
