"""The run directory: one that is not finished goes on, a finished one is replaced whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline import processes
from leadline.artefact import MANIFEST, check_place, read_manifest
from leadline.errors import LeadlineError

CONFIG = "config.toml"


@contextmanager
def run_directory(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """The directory of a run in the making; an unfinished run of the same settings goes on.

    Of several processes the first makes it, and the others wait for that.

    A run that is replaced lies beside it until the new one is finished. After a `LeadlineError`
    a new directory is removed and the replaced run is back; after anything else (a kill, a
    defect) what was finished stays, to go on from.

    Raises:
        LeadlineError: the run is finished, or unfinished with other settings, or the directory
            holds something else, or cannot be made.
    """
    if processes.rank() > 0:
        processes.barrier()
        yield path
        return
    text = to_toml(settings)
    _check_vacant(path, text, overwrite)
    replaced = path.with_name(f".{path.name}.replaced")
    if (path / MANIFEST).is_file():
        shutil.rmtree(replaced, ignore_errors=True)
        path.replace(replaced)
    config = path / CONFIG
    new = not config.is_file()
    path.mkdir(parents=True, exist_ok=True)
    config.write_text(text, encoding="utf-8")
    processes.barrier()
    try:
        yield path
    except LeadlineError:
        if new:
            shutil.rmtree(path)
            if replaced.is_dir():
                replaced.replace(path)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _check_vacant(path: Path, config: str, overwrite: bool) -> None:
    """Raise `LeadlineError` unless a run of the settings `config` may be written at `path`."""
    check_place(path)
    if path.exists() and not path.is_dir():
        raise LeadlineError("The output is a file.", remedy="Choose another --out.", file=path)
    if (path / MANIFEST).is_file():
        if overwrite:
            read_manifest(path, "run")
            return
        raise LeadlineError(
            "This run is finished.",
            remedy="Choose another --out, or add --overwrite to replace it.",
            file=path,
        )
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / CONFIG).is_file():
        raise LeadlineError(
            "The output exists and is not a run.",
            remedy="Choose another --out, or remove it yourself.",
            file=path,
        )
    if (path / CONFIG).read_text(encoding="utf-8", errors="replace") != config:
        raise LeadlineError(
            "An unfinished run with other settings or inputs lies here.",
            remedy="Repeat the command that it was started with, choose another --out, "
            "or remove the directory.",
            file=path,
        )


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as TOML: tables of plain values and of lists of plain values."""
    lines = []
    for table, values in settings.items():
        lines.append(f"[{table}]")
        # A quoted key may hold a dot, as the names of files do.
        lines += [f"{json.dumps(name)} = {_toml_value(value)}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    # JSON writes strings, numbers and booleans as TOML does.
    return json.dumps(value, ensure_ascii=False)
