"""The run directory: one that is not finished goes on, a finished one is replaced whole.

Only the code that began a run goes on with it (`about.code_version`): its models, folds and
pseudolabels would else be of two codes. A finished run may be of any version.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline import processes
from leadline.about import code_version
from leadline.artefact import MANIFEST, SCRATCH, private_folder, replacing, write_json
from leadline.errors import LeadlineError
from leadline.output import (
    check_apart,
    check_no_strangers,
    check_own,
    clear_scratch,
    holding,
    put_in_place,
    recover_replaced,
)

CONFIG = "config.toml"

AFTER = {"results.json": "evaluate", "report.html": "report"}
"""What the command line makes of a run when it is trained, and the verb that makes it alone."""

CODE = re.compile(r"[0-9.]{1,20}(\+[0-9a-f]{1,64})?")

BEGUN = "begun.json"  # which code began an unfinished run

LOG = logging.getLogger(__name__)


class RunIsTrained(LeadlineError):
    """A run of the same settings is finished, and has no results or no report yet.

    Training was the long part: whoever asked for it can go on with these.
    """


@contextmanager
def run_directory(
    path: Path, settings: Mapping[str, Any], overwrite: bool, inputs: Iterable[Path | None] = ()
) -> Iterator[Path]:
    """The directory of a run in the making; an unfinished run of the same settings goes on.

    Of several processes the first makes it, and the others wait for that.

    A finished run that is replaced stays as it is until the new one, made beside it under
    `begun_name`, is finished too and takes its place at one instant. After a `LeadlineError` a new
    directory is removed; after anything else (a kill, a defect) what was finished stays, to go on
    from. No other process may make a run here meanwhile.

    What another version of Leadline began is refused; `overwrite` begins it anew.

    Args:
        path: where the run is wanted.
        settings: table by table; what decides whether an unfinished run goes on.
        overwrite: a finished run may be replaced.
        inputs: whatever is read to make it; None among them is left out.

    Raises:
        RunIsTrained: a run of the same settings is finished and has no results, or no report.
        LeadlineError: the run is finished, or unfinished with other settings or by another
            version, another process makes it, or the directory holds something else, touches an
            input, or cannot be made.
    """
    if processes.rank() > 0:
        yield processes.broadcast(path)
        return
    text = to_toml(settings)
    check_apart(path, inputs)
    with holding(path):
        place = _settle(path, text, overwrite)
        new = not (place / CONFIG).is_file()
        private_folder(place)
        clear_scratch(place)
        write_json(place / BEGUN, {"code": code_version()})
        with replacing(place / CONFIG) as scratch:
            scratch.write_text(text, encoding="utf-8")
        processes.broadcast(place)
        try:
            yield place
        except LeadlineError:
            if new:
                shutil.rmtree(place)
            raise
        if (place / MANIFEST).is_file():
            (place / BEGUN).unlink(missing_ok=True)
            if place != path:
                check_own(path, "run")
                put_in_place(place, path)


def begun_name(path: Path) -> Path:
    """Where a run is made that is to replace the finished one at `path`."""
    return path.with_name(f".{path.name}.begun")


def _settle(path: Path, config: str, overwrite: bool) -> Path:
    """Where the run is made, once it is clear that it may be: at `path`, or beside it."""
    recover_replaced(path)
    place = begun_name(path)
    if place.is_symlink():
        raise LeadlineError(
            "A link lies where the new run is made.", remedy="Move it away.", file=place
        )
    was_made = (place / MANIFEST).is_file() and _is_run(path)
    if was_made:  # and its command was killed at the last step
        check_own(path, "run")
        (place / BEGUN).unlink(missing_ok=True)
        put_in_place(place, path)
        LOG.warning("Put in place a run that an interrupted command had finished: %s", path)
    if (path / MANIFEST).is_file():
        check_own(path, "run")
        (path / BEGUN).unlink(missing_ok=True)
        _refuse_finished(path, config, overwrite, was_made=was_made)
    else:
        place = path
    _check_vacant(place, config, overwrite)
    if (place / CONFIG).is_file() and _begun_by_another(place):
        check_no_strangers(place, "run", {})
        shutil.rmtree(place)  # asked for by `overwrite`, else it was refused
    return place


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / MANIFEST).is_file()


def _refuse_finished(path: Path, config: str, overwrite: bool, *, was_made: bool) -> None:
    """Raise unless the finished run at `path` is to be replaced.

    It is not where an interrupted command, which was to replace another, `was_made` it.
    """
    same = (path / CONFIG).is_file() and _config_of(path) == config
    verb = next((verb for name, verb in AFTER.items() if not (path / name).is_file()), None)
    if same and (was_made or not overwrite) and verb is not None:
        raise RunIsTrained(
            f"This run is finished but for what leadline {verb} makes.",
            remedy=f"Run: leadline {verb} {path}; or add --overwrite to train it again.",
            file=path,
        )
    if not overwrite:
        raise LeadlineError(
            "This run is finished.",
            remedy="Choose another --out, or add --overwrite to replace it.",
            file=path,
        )


def _config_of(path: Path) -> str:
    return (path / CONFIG).read_text(encoding="utf-8", errors="replace")


def _begun_by_another(path: Path) -> str | None:
    """Which other code began the unfinished run at `path`; None if this one did, or nothing is."""
    if not (path / CONFIG).is_file():
        return None
    try:
        code = str(json.loads((path / BEGUN).read_text(encoding="utf-8"))["code"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        code = ""
    if CODE.fullmatch(code) is None:
        return "one that did not say which it was"
    return None if code == code_version() else code


def _check_vacant(place: Path, config: str, overwrite: bool) -> None:
    """Raise `LeadlineError` unless a run of the settings `config` may be made at `place`."""
    if place.exists() and not place.is_dir():
        raise LeadlineError("The output is a file.", remedy="Choose another --out.", file=place)
    if not place.exists() or all(_is_first(file.name) for file in place.iterdir()):
        return
    if not (place / CONFIG).is_file():
        raise LeadlineError(
            "The output exists and is not a run.",
            remedy="Choose another --out, or remove it yourself.",
            file=place,
        )
    another = _begun_by_another(place)
    if another and overwrite:
        return
    if another:
        raise LeadlineError(
            f"Another version of Leadline began this unfinished run: {another}. "
            f"This is {code_version()}.",
            remedy="Begin it anew with --overwrite, go on with the version that began it, or "
            "choose another --out.",
            file=place,
        )
    if _config_of(place) != config:
        raise LeadlineError(
            "An unfinished run with other settings or inputs lies here.",
            remedy="Repeat the command that it was started with, choose another --out, "
            "or remove the directory.",
            file=place,
        )


def _is_first(name: str) -> bool:
    """Whether a file is of those that a run begins with, before its settings are written."""
    return name == BEGUN or re.fullmatch(SCRATCH, name) is not None


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
