"""The run directory: one that is not finished goes on, a finished one is replaced whole.

Only the code that began a run goes on with it (`about.code_version`): its models, folds and
pseudolabels would else be of two codes. A finished run may be of any version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline import processes
from leadline.about import code_version
from leadline.artefact import MANIFEST, check_place, private_folder, read_manifest, write_json
from leadline.errors import LeadlineError

CONFIG = "config.toml"

BEGUN = "begun.json"  # which code began an unfinished run


@contextmanager
def run_directory(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """The directory of a run in the making; an unfinished run of the same settings goes on.

    Of several processes the first makes it, and the others wait for that.

    A run that is replaced lies beside it until the new one is finished. After a `LeadlineError`
    a new directory is removed and the replaced run is back; after anything else (a kill, a
    defect) what was finished stays, to go on from.

    What another version of Leadline began is refused; `overwrite` begins it anew.

    Raises:
        LeadlineError: the run is finished, or unfinished with other settings or by another
            version, or the directory holds something else, or cannot be made.
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
    elif _begun_by_another(path):
        shutil.rmtree(path)  # asked for by `overwrite`, else it was refused
    config = path / CONFIG
    new = not config.is_file()
    private_folder(path)
    write_json(path / BEGUN, {"code": code_version()})
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
    if (path / MANIFEST).is_file():
        (path / BEGUN).unlink(missing_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)


def _begun_by_another(path: Path) -> str | None:
    """Which other code began the unfinished run at `path`; None if this one did, or nothing is."""
    if not (path / CONFIG).is_file():
        return None
    try:
        code = str(json.loads((path / BEGUN).read_text(encoding="utf-8"))["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return "one that did not say which it was"
    return None if code == code_version() else code


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
    if not path.exists() or not any(file.name != BEGUN for file in path.iterdir()):
        return
    if not (path / CONFIG).is_file():
        raise LeadlineError(
            "The output exists and is not a run.",
            remedy="Choose another --out, or remove it yourself.",
            file=path,
        )
    another = _begun_by_another(path)
    if another and overwrite:
        return
    if another:
        raise LeadlineError(
            f"Another version of Leadline began this unfinished run: {another}. "
            f"This is {code_version()}.",
            remedy="Begin it anew with --overwrite, go on with the version that began it, or "
            "choose another --out.",
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
