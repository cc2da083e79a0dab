"""The one error that people see: what was wrong, where, and what to do about it.

Anything a user can cause (a bad file, a wrong flag, a missing package) is raised as
`LeadlineError`; the command line prints it without a traceback and exits with 2. Every
other exception is a defect: the command line shows its type and place (`cli/failure.py`).
Messages never quote transcript text or names: they point at a file and a row instead.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

EXIT_CODE = 2


class LeadlineWarning(UserWarning):
    """What a user should know though the work goes on; it quotes nobody either."""


class LeadlineError(Exception):
    """A problem that the user can solve.

    Args:
        problem: what was wrong, one sentence, without transcript text.
        remedy: what to do about it, one imperative sentence.
        file: the file or folder that the problem is in.
        row: the row, line or entry in that file, counted from 1 as an editor shows it,
            or a short locator such as ``"line 3, messages[2]"``.

    >>> from leadline import LeadlineError, read_cohort
    >>> try:
    ...     read_cohort("nowhere")
    ... except LeadlineError as error:
    ...     print(error.file, "|", error.problem)
    nowhere | There is no cohort directory here.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        file: str | Path | None = None,
        row: int | str | None = None,
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.file = None if file is None else Path(file)
        self.row = row
        super().__init__(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it pass between processes, from a worker to whoever says it."""
        build = partial(type(self), remedy=self.remedy, file=self.file, row=self.row)
        return build, (self.problem,)

    def where(self) -> str:
        """File and row as ``FILE, row N``; empty where neither is known."""
        parts = [] if self.file is None else [str(self.file)]
        if self.row is not None:
            parts.append(f"row {self.row}" if isinstance(self.row, int) else self.row)
        return ", ".join(parts)

    def __str__(self) -> str:
        where = self.where()
        return f"{where + ': ' if where else ''}{self.problem}\n  What to do: {self.remedy}"


class Unreachable(LeadlineError):
    """A database or an app that did not answer, and may answer when it is asked again."""


def missing_package(package: str, extra: str, purpose: str) -> LeadlineError:
    """The error for an optional package that is not installed."""
    return LeadlineError(
        f"{purpose} needs the package {package}, which is not installed.",
        remedy=f"Install it with: pip install 'leadline[{extra}]'",
    )
