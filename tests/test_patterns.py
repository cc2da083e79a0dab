"""No pattern takes more than time in proportion to a text, whatever the text."""

from __future__ import annotations

import importlib
import pkgutil
import re
import signal
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest

import leadline

LENGTH = 20_000  # characters of a text that is made for a pattern

CEILING = 1.0  # seconds for it; a pattern that goes back and forth takes hours

BEFORE = ("", "User: ", "13/05/2024, 10:00 - ", "2024-05-01 ", "<a ", "PHQ-9 1", "[12:30] ")

REPEATED = (
    " ", "\n", "a", "1", "a ", "1 ", "1:", "12:30 ", "User: ", "\t", "- ", "1/1/1, ", ".", ", ",
    "[", "<", "<a ", '"', "phq", "phq9_", "0", "several days ", "_", "aA", "*", ": ", "<|",
    "1.", "\u65e5", "\u202f", "&#9", "PM ", "e1", "item_1", "1x", "a:", "{'", "\\", "(", "-",
    "not at all ", "/", "+0", "\u3002", ";", "a\n", " \n", "=", "'", "]", "a.", "ab1",
)  # fmt: skip

AFTER = ("\x00", "", "!\n")


def held(value: Any, depth: int = 0) -> Iterator[re.Pattern[str]]:
    """Patterns of text in a value, and in what it holds."""
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif depth < 3 and isinstance(value, dict):
        for inner in value.values():
            yield from held(inner, depth + 1)
    elif depth < 3 and isinstance(value, tuple | list | frozenset | set):
        for inner in value:
            yield from held(inner, depth + 1)


@cache
def patterns() -> dict[str, re.Pattern[str]]:
    """Every pattern that a module of Leadline holds, by its place."""
    found: dict[str, re.Pattern[str]] = {}
    known: set[tuple[str, int]] = set()
    for module in pkgutil.walk_packages(leadline.__path__, "leadline."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for number, pattern in enumerate(held(value)):
                if (pattern.pattern, pattern.flags) not in known:
                    known.add((pattern.pattern, pattern.flags))
                    found[f"{module.name}.{name}[{number}]"] = pattern
    return found


def slow_texts(
    pattern: re.Pattern[str], texts: Iterable[tuple[str, str, str]], patience: float = 10.0
) -> list[Any]:
    """The texts on which a pattern takes more than `CEILING`."""
    late = []

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for start, repeated, end in texts:
            text = start + (repeated * (LENGTH // len(repeated) + 1))[:LENGTH] + end
            began = time.process_time()
            signal.setitimer(signal.ITIMER_REAL, patience)
            try:
                pattern.sub("", text)
            except TimeoutError:
                late.append((start, repeated, end))
                break
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if time.process_time() - began > CEILING:
                late.append((start, repeated, end))
    finally:
        signal.signal(signal.SIGALRM, before)
    return late


def test_there_are_patterns_and_the_test_can_tell_a_bad_one() -> None:
    assert len(patterns()) > 70
    assert slow_texts(re.compile(r"(a+)+$"), [("", "a", "!")], patience=0.2)


def test_no_pattern_goes_back_and_forth() -> None:
    texts = [("", repeated, "\x00") for repeated in REPEATED[::2]]
    late = {
        place: bad for place, pattern in patterns().items() if (bad := slow_texts(pattern, texts))
    }
    assert late == {}


@pytest.mark.slow
def test_no_pattern_goes_back_and_forth_whatever_stands_around() -> None:
    texts = [(start, repeated, end) for start in BEFORE for repeated in REPEATED for end in AFTER]
    late = {
        place: bad for place, pattern in patterns().items() if (bad := slow_texts(pattern, texts))
    }
    assert late == {}
