"""Files to import, and what was said in the cohort that comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from leadline.cohort.store import Cohort, read_cohort
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig

TWO_TURNS = "person_id,role,text\np1,user,low\np2,user,fine\n"


def write_source(folder: Path, name: str, content: Any) -> Path:
    """A file of text as it is, of JSON lines for a list in ``.jsonl``, else of JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and path.suffix == ".jsonl":
        content = "".join(json.dumps(line) + "\n" for line in content)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def import_beside(source: Path, **settings: Any) -> Cohort:
    """The cohort of `source`, written beside it."""
    return import_cohort(source, ImportConfig(**settings), source.parent / "cohort")


def words_of(cohort: Cohort) -> list[tuple[str, str, str]]:
    """Person, role and text of every turn."""
    return list(cohort.turns.select("person_id", "role", "text").iter_rows())


def turns_of(cohort: Cohort) -> list[tuple[str, str, int, str, str]]:
    """Person, conversation, number, role and text of every turn."""
    columns = ("person_id", "conversation_id", "turn", "role", "text")
    return list(cohort.turns.select(columns).iter_rows())


def import_cohort(source: Path, config: ImportConfig, out: Path, **more: Any) -> Cohort:
    """Import, and read what was written."""
    import_files(source, config, out, **more)
    return read_cohort(out)
