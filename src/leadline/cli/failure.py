"""What the terminal shows of a failure that nobody foresaw: its type and its places, no words.

What the system refuses (a full disk, no permission, a name that is too long) is no failure of the
program but a message as of any bad input. The message of an exception of another package, and
Python's traceback with it, may quote the very text, date or identifier that it failed on. So
neither is shown unless it is asked for, and then a warning stands above it. The same holds for what
threads, destructors, warnings and logs of other packages have to say.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

from leadline.errors import LeadlineError, LeadlineWarning

EXIT_CODE = 1

FREE_SPACE = "Free space there, then give the same command again."

PERMIT = "See to the permissions there, or choose another place."

CHECK_PATH = "Check the path."

REFUSALS = {
    errno.ENOSPC: FREE_SPACE, errno.EDQUOT: FREE_SPACE, errno.EFBIG: FREE_SPACE,
    errno.EACCES: PERMIT, errno.EPERM: PERMIT, errno.EROFS: PERMIT,
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Give the place that the link leads to.",
    errno.ENOTDIR: CHECK_PATH, errno.EISDIR: CHECK_PATH, errno.ENXIO: CHECK_PATH,
    errno.EMFILE: "Allow more open files (ulimit -n).",
    errno.ENFILE: "Allow more open files (ulimit -n).",
    errno.EIO: "See to the disk there.",
}  # fmt: skip
"""What the system refuses for reasons outside the program, and what to do about it."""

VARIABLE = "LEADLINE_TRACEBACK"

WARNING = (
    "WARNING: what follows may quote transcripts, answers and names of people. Read it before "
    "you pass it on."
)

OF_RUST = re.compile(r"\(os error (\d{1,4})\)")

OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
}

ROOT = Path(__file__).resolve().parents[1]

NO_PLACE = "no file"


def is_asked_for() -> bool:
    """Whether the environment asks for full tracebacks."""
    return os.environ.get(VARIABLE, "").lower() not in ("", "0", "false", "no")


def describe(error: BaseException) -> str:
    """What happened and where, in lines for the terminal, without a word of the message."""
    lines = [f"Leadline failed: {kind_of(error)}", f"  at {' in '.join(_places(error))}"]
    cause = error.__cause__ or error.__context__
    while cause is not None and len(lines) < 5:
        lines.append(f"  after {kind_of(cause)} at {' in '.join(_places(cause))}")
        cause = cause.__cause__ or cause.__context__
    remedy = (
        "Free space or permissions there, then give the same command again."
        if isinstance(error, OSError)
        else "This is a defect of Leadline; report the lines above, they quote nobody."
    )
    lines += [
        f"  What to do: {remedy}",
        f"  The message is not shown, because it may quote a transcript. leadline --traceback, or "
        f"{VARIABLE}=1, shows all of it.",
    ]
    return "\n".join(lines)


def refusal(error: BaseException, arguments: Sequence[str]) -> LeadlineError | None:
    """What the system refused, as a message; None where the program may be to blame.

    Args:
        error: of the system, of SQLite, or of a package in Rust, which has the number in its words.
        arguments: of the command. Only a place that one of them names is shown.

    >>> print(refusal(OSError(28, "", "cohort/x"), ["inspect", "cohort"]))
    cohort: No space left on device.
      What to do: Free space there, then give the same command again.
    """
    number = _number(error)
    if number not in REFUSALS:
        return None
    filename = getattr(error, "filename", None)
    place = filename if isinstance(filename, str) else ""
    named = [word for word in arguments if word and (place + "/").startswith(f"{word}/")]
    return LeadlineError(
        f"{os.strerror(number)}.",
        remedy=REFUSALS[number],
        file=max(named, key=len, default=None),
    )


def _number(error: BaseException) -> int | None:
    """The system's number of an error, whoever raised it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, sqlite3.Error):
        return OF_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    match = OF_RUST.search(str(error))
    return int(match[1]) if match else None


def full_traceback(error: BaseException) -> str:
    """The whole traceback under its warning."""
    return f"{WARNING}\n{''.join(traceback.format_exception(error))}".rstrip()


def kind_of(error: BaseException) -> str:
    """The type of an exception, and of the system's errors the system's fixed words."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name} ({os.strerror(error.errno)})"
    return name


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _places(error: BaseException) -> list[str]:
    """The innermost place of all and the innermost in Leadline, if that is another."""
    frames = list(_frames(error.__traceback__))
    ours = [place for place, is_own in frames if is_own]
    if not frames:
        return [NO_PLACE]
    return list(dict.fromkeys([frames[-1][0], *ours[-1:]]))


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, bool]]:
    for frame, line in traceback.walk_tb(trace):
        yield _place(frame.f_code.co_filename, line)


def _place(file: str, line: int) -> tuple[str, bool]:
    """``leadline/cohort/store.py:41`` or ``polars/series.py:7``, and whether it is Leadline's."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(ROOT):
        return f"leadline/{path.relative_to(ROOT)}:{line}", True
    parts = path.parts
    if "site-packages" in parts:
        inner = parts[len(parts) - parts[::-1].index("site-packages") :]
        return f"{'/'.join(inner)}:{line}", False
    # Of another file only its name: the folders above it may be named after a person.
    return f"{path.name}:{line}", False


class _Placed(logging.Formatter):
    """What Leadline logs, and a record of another package as its level, logger and place."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] == "leadline":
            return record.getMessage()
        return f"{record.levelname} of {record.name} ({record.filename}:{record.lineno})"


@contextmanager
def quiet_streams() -> Iterator[Callable[[], None]]:
    """While the block runs, threads, destructors, warnings and logs print no foreign message.

    It gives what puts them back before its end, for who asks for all of it.
    """
    before = (
        threading.excepthook, sys.unraisablehook, warnings.showwarning, logging.lastResort,
    )  # fmt: skip

    def restore() -> None:
        (
            threading.excepthook, sys.unraisablehook, warnings.showwarning, logging.lastResort,
        ) = before  # fmt: skip

    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised
    warnings.showwarning = _warned
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Placed())
    logging.lastResort = handler
    try:
        yield restore
    finally:
        restore()


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        print(f"In a thread: {describe(failure.exc_value)}", file=sys.stderr)


def _not_raised(failure: sys.UnraisableHookArgs) -> None:
    if failure.exc_value is not None:
        print(f"While cleaning up: {describe(failure.exc_value)}", file=sys.stderr)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,  # noqa: ARG001
) -> None:
    """A warning that Leadline words is shown; of another only its category and place."""
    if issubclass(category, LeadlineWarning):
        print(f"Warning: {message}", file=file or sys.stderr)
    else:
        print(f"{category.__name__} at {_place(filename, lineno)[0]}", file=file or sys.stderr)
