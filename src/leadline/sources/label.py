"""One administration of the questionnaire as a source gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Label(NamedTuple):
    """One administration as a source gives it, before it is checked."""

    file: Path
    row: int | str
    person: str
    time: Any
    total: Any
    items: tuple[Any, ...]
    instrument: str
