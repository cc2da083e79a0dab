"""Which column of a table holds what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from leadline.errors import LeadlineError
from leadline.sources.names import usual_place
from leadline.sources.quoting import listed


def check_present(
    header: Sequence[str], explicit_columns: Mapping[str, str], flag_name: str, file: Path
) -> None:
    """Refuse a column that is named and not there.

    Raises:
        LeadlineError: a column is absent.
    """
    absent = sorted(set(explicit_columns.values()) - set(header))
    if absent:
        raise LeadlineError(
            f"The table has no column {', '.join(absent)}.",
            remedy=f"Correct {flag_name}. The table has: {listed(header)}.",
            file=file,
            row=1,
        )


def find_columns(
    header: Sequence[str],
    explicit_columns: dict[str, str],
    names: Mapping[str, tuple[str, ...]],
    flag_name: str,
    file: Path,
) -> dict[str, str]:
    """Which column holds what: as in `explicit_columns`, else the only column of a usual name.

    Raises:
        LeadlineError: an explicit column is absent, or two columns have usual names for one kind.
    """
    check_present(header, explicit_columns, flag_name, file)
    columns = dict(explicit_columns)
    for kind, usual in names.items():
        if kind in columns:
            continue
        spare_columns = [name for name in header if name not in columns.values()]
        matches = [name for name in spare_columns if usual_place(name, usual) is not None]
        exact = [name for name in matches if name.lower() in (kind, f"{kind}_id")]
        matches = exact or matches
        if len(matches) > 1:
            raise LeadlineError(
                f"More than one column could be the {kind}: {listed(matches, header)}.",
                remedy=f"Say which with {flag_name} {kind}=NAME.",
                file=file,
                row=1,
            )
        if matches:
            columns[kind] = matches[0]
    return columns


def need(columns: dict[str, str], kinds: Iterable[str], flag_name: str, file: Path) -> None:
    """Raise if a kind of column was not found."""
    for kind in kinds:
        if kind not in columns:
            raise LeadlineError(
                f"The table has no column for the {kind}.",
                remedy=f"Say which one it is with {flag_name} {kind}=NAME.",
                file=file,
                row=1,
            )
