"""What an import met, used, left out or transformed, and the choice between stopping and going on.

Every message that a source holds arrives once. It becomes a turn, or it is left out by rule and
counted, or it is bad and counted; `Account.check` holds the sum against the turns that are
written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.sources.names import say

LISTED = 10_000  # bad rows that are listed one by one; all are counted

MOST_KEYS = 500  # keys of one level; more are no names but somebody's data


@dataclass
class Account:
    """Messages in, turns out.

    Attributes:
        arrived: messages that the source holds.
        added: turns that the import made beside them (a survey's question, a cell that is split).
        omitted: rule -> messages that it left out.
        bad: messages that were left out as bad.
    """

    arrived: int = 0
    added: int = 0
    omitted: Counter[str] = field(default_factory=Counter)
    bad: int = 0

    def check(self, turns: int, file: Path) -> None:
        """Hold the sum against the turns that are written.

        Raises:
            LeadlineError: a message is unaccounted for. It is a fault of Leadline.
        """
        expected = self.arrived + self.added - sum(self.omitted.values()) - self.bad
        if expected != turns:
            raise LeadlineError(
                f"{turns:,} turns would be written, but {expected:,} messages should have become "
                f"turns (read {self.arrived:,}, added {self.added:,}, "
                f"left out {sum(self.omitted.values()) + self.bad:,}).",
                remedy="This is a fault of Leadline; nothing was written. Report it with the "
                "layout of the file, without its text.",
                file=file,
            )

    def summary(self, turns: int) -> dict[str, Any]:
        """Plain numbers for the manifest."""
        return {
            "read": self.arrived,
            "added": self.added,
            "turns": turns,
            "left_out_by_rule": dict(self.omitted.most_common()),
            "bad": self.bad,
        }


@dataclass
class Uses:
    """Every column or key that was met, and what it was taken for."""

    levels: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    kinds: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def meet(self, file: Path, names: Iterable[str], level: str = "") -> None:
        """Note names of a level of a file, such as the keys of its messages (``messages[].``)."""
        met = self.levels.setdefault((file.name, level), {})
        if len(met) < MOST_KEYS:
            for name in names:
                met[name] = None

    def take(self, file: Path, name: str, kind: str, level: str = "") -> None:
        """Note what a name was taken for."""
        self.kinds[file.name, level, name] = kind

    def table(self) -> list[dict[str, str]]:
        """One row a name: file, name, what it was taken for ("" where it was left aside), note."""
        rows = []
        for (file, level), names in self.levels.items():
            for name in names:
                kind = self.kinds.get((file, level, name), "")
                note = "" if kind else say(name)
                rows.append({"file": file, "name": level + name, "taken_for": kind, "note": note})
        return rows


@dataclass
class RejectedRows:
    """Collects bad rows (or raises on the first) and counts messages and transformations.

    Attributes:
        skip_bad: leave bad rows out instead of raising.
        bad: file, row and reason of each row left out, the first `LISTED` of them.
        reasons: reason -> rows left out for it.
        notes: transformation or omission that belongs to the format -> how often.
        per_file: the same for what a file has once, however often it is opened.
        account: messages in and out.
        uses: columns and keys.
    """

    skip_bad: bool = False
    bad: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    per_file: dict[tuple[Path, str], int] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    uses: Uses = field(default_factory=Uses)

    def reject(
        self, file: Path, row: int | str | None, problem: str, remedy: str, messages: int = 0
    ) -> None:
        """Leave a row out, or raise if bad rows stop the import.

        Args:
            file: where it is.
            row: which it is.
            problem: what is wrong, without a word of a transcript.
            remedy: what to do about it.
            messages: how many messages that have arrived are lost with it.
        """
        if not self.skip_bad:
            again = " Or add --skip-bad to leave such rows out."
            raise LeadlineError(problem, remedy=remedy + again, file=file, row=row)
        self.reasons[problem] += 1
        self.account.bad += messages
        if len(self.bad) < LISTED:
            self.bad.append({"file": file.name, "row": row, "reason": problem})

    def reject_error(self, file: Path, row: int | str | None, error: LeadlineError) -> None:
        """`reject` with the problem and remedy of an error that knew no file or row."""
        self.reject(file, row, error.problem, error.remedy)

    def note(self, what: str, count: int = 1) -> None:
        """Count a transformation, or an omission of what is no message."""
        if count:
            self.notes[what] += count

    def note_once(self, file: Path, what: str, count: int) -> None:
        """`note` for what is met anew each time a file is opened, and counts once."""
        if count:
            self.per_file[file, what] = count

    def omit(self, why: str, messages: int = 1) -> None:
        """Leave messages that have arrived out, by rule."""
        if messages:
            self.account.omitted[why] += messages

    def summary(self) -> dict[str, Any]:
        """Plain data for the manifest: no text, only files, rows, reasons, counts."""
        changes = self.notes + self.account.omitted
        for (_, what), count in self.per_file.items():
            changes[what] += count
        return {
            "left_out": sum(self.reasons.values()),
            "left_out_by_reason": dict(self.reasons.most_common()),
            "left_out_rows": list(self.bad),
            "transformations": dict(changes.most_common()),
            "columns": self.uses.table(),
        }
