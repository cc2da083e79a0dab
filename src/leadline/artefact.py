"""Named artefacts on disk: directories that are complete when their manifest is there.

Each verb writes one directory. Files go in first and `manifest.json` last, by an atomic
rename, so a killed run leaves a directory that every reader refuses, never one that looks
finished. The manifest says what made it: version, command, settings, hashes of inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadline import __version__
from leadline.errors import LeadlineError

MANIFEST = "manifest.json"

MANIFEST_FORMAT = 1


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and infinity are refused (they are not JSON)."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=str)
    # Not a temporary file of `tempfile`: those are closed to everyone but their owner.
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with scratch.open("x", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(
    directory: Path,
    *,
    kind: str,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    **more: Any,
) -> dict[str, Any]:
    """Write the manifest that completes `directory` and return it.

    Args:
        directory: the directory that it completes.
        kind: ``cohort``, ``labels`` or ``run``.
        command: the verb that made the directory.
        settings: its settings as plain JSON values.
        inputs: name of each input -> SHA-256 of its bytes.
        more: further entries of this kind of artefact (counts, readers, folds).
    """
    manifest = {
        "kind": kind,
        "format": MANIFEST_FORMAT,
        "leadline": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": dict(settings),
        "inputs": dict(inputs),
        **more,
    }
    write_json(directory / MANIFEST, manifest)
    return manifest


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """Read and check the manifest of a finished artefact of `kind`.

    Raises:
        LeadlineError: no such directory, unfinished, of another kind, or of another format.
    """
    if not directory.is_dir():
        raise LeadlineError(
            f"There is no {kind} directory here.",
            remedy=f"Check the path; a {kind} is a directory that holds {MANIFEST}.",
            file=directory,
        )
    path = directory / MANIFEST
    if not path.is_file():
        raise LeadlineError(
            f"This {kind} is unfinished: it has no {MANIFEST}.",
            remedy="Run the command that writes it again; delete the directory first.",
            file=directory,
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlineError(
            "The manifest cannot be read as JSON.",
            remedy="Restore the file from a copy, or make the directory again.",
            file=path,
        ) from error
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise LeadlineError(
            f"Expected a {kind}, found {found!r}.",
            remedy=f"Give the path of a {kind} directory.",
            file=directory,
        )
    if manifest.get("format") != MANIFEST_FORMAT:
        raise LeadlineError(
            f"This {kind} has format {manifest.get('format')!r}; "
            f"Leadline {__version__} reads format {MANIFEST_FORMAT}.",
            remedy=f"Make it again with this version (it was written by Leadline "
            f"{manifest.get('leadline', 'unknown')}).",
            file=directory,
        )
    return manifest


def check_place(out: Path) -> None:
    """Raise `LeadlineError` unless something can be written at `out`."""
    above = next(folder for folder in (out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise LeadlineError(
            "The output cannot be made here.",
            remedy="Choose an --out in a folder that exists and that you may write to.",
            file=out,
        )


@contextmanager
def new_directory(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a scratch directory that becomes `path` if the block ends without an error.

    The scratch lies beside `path`, so the last step is one rename. On an error it is
    removed and `path` is as it was before.

    Raises:
        LeadlineError: `path` exists and is not an empty directory, without `overwrite`.
    """
    occupied = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if occupied and not overwrite:
        raise LeadlineError(
            "The output already exists.",
            remedy="Choose another --out, or add --overwrite to replace it.",
            file=path,
        )
    if occupied and not (path.is_dir() and (path / MANIFEST).is_file()):
        raise LeadlineError(
            "The output exists and was not written by Leadline, so it is not replaced.",
            remedy="Choose another --out, or remove it yourself.",
            file=path,
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.partial-"))
    except OSError as error:
        raise LeadlineError(
            f"The output cannot be made here ({error.strerror}).",
            remedy="Choose an --out in a folder that exists and that you may write to.",
            file=path,
        ) from error
    scratch.chmod(0o755)
    try:
        yield scratch
        if path.exists():
            shutil.rmtree(path)
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
