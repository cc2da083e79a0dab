"""How far work is that takes longer than a moment: a bar, or lines where stderr is no terminal.

A bar shows what is done of how much, the time left and, where a language model or an encoder
reads, the tokens that were read and how many a second. Whoever reads tells the bar that is open
(`tokens_read`), however deep below it; so a verb that counts people shows its tokens as well,
before the first people are done. Where stderr is no terminal, a line says the same after
`FIRST_LINE` seconds and then every `NEXT_LINES` seconds: logs stay short, and short verbs silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from leadline.processes import is_first

Advance = Callable[[int, int], None]
"""Called with (position, total) in any unit; total may grow."""

FIRST_LINE, NEXT_LINES = 5.0, 30.0  # seconds


class Bar:
    """Shows work that is under way; called with (position, total) as it goes on.

    Args:
        what: is done, such as ``Reading``.
        unit: of the position, such as ``tokens``; nothing where it goes without saying.
        visible: False in a process that says nothing.
    """

    def __init__(self, what: str, unit: str, *, visible: bool) -> None:
        self.what, self.unit, self.visible = what, unit, visible
        self.console = Console(stderr=True)
        self.position = self.total = 0
        self.begun_at: int | None = None
        self.tokens = 0
        self.start = monotonic()
        self.next_line = self.start + FIRST_LINE
        self.bar = Progress(
            TextColumn(what),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (self.console.is_terminal and visible),
        )
        self.task = self.bar.add_task(what, total=None, figures="")

    def __call__(self, position: int, total: int) -> None:
        if self.begun_at is None or position < self.position:  # the next reader begins again
            self.begun_at = position
        self.position, self.total = position, total
        self._show()

    def add_tokens(self, count: int) -> None:
        """So many tokens more were read."""
        self.tokens += count
        if self.unit != "tokens":  # there the position follows at once
            self._show()

    def say(self, line: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self.visible:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def figures(self) -> str:
        """Such as ``8,192 of 63,000 tokens, 452 a second``."""
        parts = []
        if self.unit and self.total:
            parts.append(f"{self.position:,} of {self.total:,} {self.unit}")
        if self.tokens and self.unit != "tokens":
            parts.append(f"{self.tokens:,} tokens")
        if self.tokens and (seconds := monotonic() - self.start) > 0:
            parts.append(f"{self.tokens / seconds:,.0f} a second")
        return ", ".join(parts)

    def _show(self) -> None:
        if not self.visible:
            return
        extent = (self.position, self.total) if self.total else (1, 1)  # there was nothing to do
        completed, total = extent if self.begun_at is not None else (0, None)
        self.bar.update(self.task, completed=completed, total=total, figures=self.figures())
        if not self.console.is_terminal and monotonic() >= self.next_line:
            self.next_line = monotonic() + NEXT_LINES
            self.say(self._line())

    def _line(self) -> str:
        share = [f"{self.position / self.total:.0%}"] if self.total else []
        gained = self.position - (self.begun_at or 0)
        remaining = []
        if gained > 0 and self.total > self.position:
            seconds = (monotonic() - self.start) * (self.total - self.position) / gained
            remaining = [f"about {in_words(seconds)} left"]
        return f"{self.what}: " + ", ".join([*share, *filter(None, [self.figures()]), *remaining])


def in_words(seconds: float) -> str:
    """A duration for people: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


OPEN: list[Bar] = []
"""Bars that are shown now, the innermost last."""


def tokens_read(count: int) -> None:
    """Tell the bar that is open, if any is, that so many tokens more were read."""
    if OPEN:
        OPEN[-1].add_tokens(count)


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[Bar]:
    """Show `what` while the block runs, as `Bar` does.

    Of several processes that train together the first alone shows it.
    """
    bar = Bar(what, unit, visible=is_first())
    OPEN.append(bar)
    try:
        with bar.bar:
            yield bar
    finally:
        OPEN.remove(bar)


def step_by(advance: Advance, total: int) -> Callable[[int], None]:
    """What moves a bar of `total` on by a number of steps, for who counts steps and no sum."""
    position = 0

    def step(count: int) -> None:
        nonlocal position
        position += count
        advance(position, total)

    return step
