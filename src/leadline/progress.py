"""A progress bar on stderr for work that takes longer than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from leadline.processes import is_first

Advance = Callable[[int, int], None]
"""Called with (position, total) in any unit; total may grow."""


@contextmanager
def progress_bar(what: str) -> Iterator[Advance]:
    """Show `what` with a bar while the block runs; nothing is shown where stderr is no terminal.

    Of several processes that train together the first alone shows it.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (console.is_terminal and is_first()),
    )
    with bar:
        task = bar.add_task(what, total=None)

        def advance(position: int, total: int) -> None:
            bar.update(task, completed=position, total=total)

        yield advance


def step_by(advance: Advance, total: int) -> Callable[[int], None]:
    """What moves a bar of `total` on by a number of steps, for who counts steps and no sum."""
    position = 0

    def step(count: int) -> None:
        nonlocal position
        position += count
        advance(position, total)

    return step
