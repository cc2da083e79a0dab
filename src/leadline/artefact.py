"""Named artefacts on disk: directories that are complete when their manifest is there.

Each verb writes one directory. Files go in first and `manifest.json` last, by an atomic
rename, so a killed run leaves a directory that every reader refuses, never one that looks
finished. The manifest says what made it: version, command, settings, hashes of inputs.

Whatever is replaced while others may read it is written by `replacing`: a reader finds the
old file or the new one, never a part of either.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from leadline.about import __version__
from leadline.errors import LeadlineError

TRUTH = "truth"
"""The folder of a simulated cohort that holds what no estimator may read, bound by hashes alone."""

MANIFEST = "manifest.json"

MANIFEST_FORMAT = 1

KINDS = ("cohort", "labels", "run", "export", "reader", "checkpoint", "parts")
"""What artefacts are. Of a manifest no other kind is shown: it may be anybody's words."""

VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")
"""Versions of Leadline, as a message may show them."""

MOST_FORMAT = 99  # a format that a message shows; another is anything

SCRATCH = r"\..+\.\d+-[0-9a-f]{8}"
"""The pattern of the names that `replacing` gives to scratch files."""

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # of folders of some network file systems


HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")

LARGEST_MANIFEST = 64 << 20
"""Bytes; one names its settings, counts and files, some kilobytes in all."""

FILE_MODE, FOLDER_MODE = 0o600, 0o700
"""Permissions of whatever Leadline writes: words, totals and identifiers are their owner's."""


@contextmanager
def private() -> Iterator[None]:
    """Close every file and folder that this process makes in the block to others, from byte one.

    Of the whole process, other packages and children included; the command line runs within it.
    """
    before = os.umask(0o777 & ~FOLDER_MODE)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(folder: Path) -> None:
    """Give a folder that is an artefact now, and all of this user's in it, the modes above."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() and path.stat().st_uid == os.getuid():
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def private_folder(path: Path) -> Path:
    """Make a folder that is closed to others, unless it is there; the same path.

    Raises:
        LeadlineError: it cannot be made.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise LeadlineError(
            f"The folder cannot be made here ({error.strerror}).",
            remedy="Name a folder in a place that is there and that you may write to.",
            file=path,
        ) from error
    return path


@contextmanager
def replacing(
    path: Path, *, mode: int = FILE_MODE, folder: Path | None = None, durable: bool = True
) -> Iterator[Path]:
    """Give an empty scratch file that takes the place of `path` if the block ends without an error.

    On an error the scratch file is removed and `path` is as it was before. Several processes may
    replace the same file; one of them is the last.

    Args:
        path: the file, there or not; its folder exists.
        mode: its permissions, from the first byte on, whatever those of a replaced file were.
        folder: where the scratch file lies, on the same file system; beside `path` if None.
        durable: have the disk write file and name before going on, so that a power failure
            leaves the old file or the new one too. Without it a power failure may leave a
            damaged file, which is for readers that find that out.
    """
    name = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}"
    scratch = path.with_name(name) if folder is None else folder / name
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    try:
        yield scratch
        scratch.chmod(mode)
        if durable:
            sync(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    if durable:
        try:
            sync(path.parent)
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise


def sync(path: Path) -> None:
    """Have the disk write a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(
    path: Path,
    *,
    format: int,
    remedy: str,
    what: str = "file",
    problem: str = "This file is absent, or not the JSON that Leadline wrote.",
) -> dict[str, Any]:
    """Read a JSON object that says of which format it is, as ``{"format": 1, ...}``.

    Args:
        path: the file.
        format: the format that this version reads.
        remedy: what to do about a file that is not as it should be.
        what: what the file is, for the message about another format.
        problem: what is wrong with a file that is absent, not JSON, or names no format.

    Raises:
        LeadlineError: `problem`, or the format is another one.
    """
    try:
        content = _parsed(path)
    except (OSError, ValueError, RecursionError) as error:
        raise LeadlineError(problem, remedy=remedy, file=path) from error
    if not isinstance(content, dict) or "format" not in content:
        raise LeadlineError(problem, remedy=remedy, file=path)
    if content["format"] != format:
        raise LeadlineError(
            f"This {what} has {_shown_format(content['format'])}; this version reads {format}."
            f"{_shown_version(content.get('leadline'))}",
            remedy=remedy,
            file=path,
        )
    return content


def _parsed(file: Path) -> Any:
    """JSON of Leadline's; half a character (a lone surrogate), which no file can hold, is none."""
    text = file.read_text(encoding="utf-8")
    content = json.loads(text)
    if HALF_ESCAPED.search(text):
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # which such a half cannot be
    return content


def _shown_format(value: Any) -> str:
    """A format as a message may show it: a small number, nothing else that stands in a file."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"format {value}" if is_number and 0 <= value <= MOST_FORMAT else "no format of Leadline"


def _shown_version(value: Any) -> str:
    is_version = isinstance(value, str) and VERSION.fullmatch(value) is not None
    return f" It was written by Leadline {value}." if is_version else ""


def shown_kind(manifest: Mapping[str, Any]) -> str:
    """The kind of an artefact as a message may show it.

    >>> shown_kind({"kind": "run"}), shown_kind({"kind": "ann said so"})
    ("'run'", 'something that Leadline does not know')
    """
    kind = manifest.get("kind")
    return repr(kind) if kind in KINDS else "something that Leadline does not know"


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and infinity are refused (they are not JSON)."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=str)
    with replacing(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")


@contextmanager
def locked(
    path: Path, problem: str | None = None, remedy: str = "", *, file: Path | None = None
) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made if need be, while the block runs.

    The lock is this process's and goes with it, however it ends; the file stays, and its time
    says when it was locked last.

    Args:
        path: the lock file; its folder exists. What it holds is left alone.
        problem: what is wrong when another process has the lock; None waits until it is free.
        remedy: what to do about it.
        file: the file or folder that `problem` speaks of, `path` if None.

    Raises:
        LeadlineError: another process has the lock, or nothing can be locked here.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE)
    try:
        take_lock(handle, problem, remedy, file or path)
        os.utime(handle)
        yield
    finally:
        os.close(handle)


def take_lock(handle: int, problem: str | None, remedy: str, file: Path) -> None:
    """Lock an open file or folder until its handle is closed; the arguments are `locked`'s.

    Raises:
        LeadlineError: another process has the lock, or nothing can be locked here.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if problem is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LeadlineError(problem or "This is locked.", remedy=remedy, file=file) from error
    except OSError as error:
        raise LeadlineError(
            f"Nothing can be locked here ({error.strerror}).",
            remedy="Use a folder on a file system that has locks, such as a local disk.",
            file=file,
        ) from error


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
    **entries: Any,
) -> dict[str, Any]:
    """Write the manifest that completes `directory`, close it to others, and return it.

    Args:
        directory: the directory that it completes.
        kind: ``cohort``, ``labels`` or ``run``.
        command: the verb that made the directory.
        settings: its settings as plain JSON values.
        inputs: name of each input -> SHA-256 of its bytes.
        entries: further ones of this kind of artefact (counts, readers, folds).
    """
    manifest = {
        "kind": kind,
        "format": MANIFEST_FORMAT,
        "leadline": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "settings": dict(settings),
        "inputs": dict(inputs),
        **entries,
    }
    close_to_others(directory)
    write_json(directory / MANIFEST, manifest)
    return manifest


def pending_name(name: str) -> str:
    """Under which name a new file of an artefact waits until its manifest is written."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/.{last}.pending" if folder else f".{last}.pending"


def is_inside(name: str) -> bool:
    """Whether a file name of a manifest lies in its directory: relative, and never upwards."""
    return not (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts)


def commit(directory: Path, manifest: Mapping[str, Any], new_files: Iterable[str]) -> None:
    """Change files of a finished artefact together with its manifest, at one instant.

    The new files lie under `pending_name`, and the manifest knows their hashes. Writing it is the
    instant: `finish_commit` does what is left, here or in whoever reads the manifest next.
    """
    for name in new_files:
        sync(directory / pending_name(name))
    write_json(directory / MANIFEST, manifest)
    finish_commit(directory, manifest)


def bind(directory: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> None:
    """Add files to a finished artefact, or replace them, together with their hashes.

    Each waits under `pending_name`. The caller holds the artefact and has read its manifest before
    the first of them was written.
    """
    names = list(names)
    waiting = [name for name in names if (directory / pending_name(name)).is_file()]
    # One that is what it was before may have been put in place by a reader meanwhile.
    digests = {
        name: sha256(directory / (pending_name(name) if name in waiting else name))
        for name in names
    }
    commit(directory, {**manifest, "files": {**files_of(manifest), **digests}}, waiting)


def files_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> SHA-256 of the files that a manifest binds; empty where it is no such table."""
    files = manifest.get("files")
    return files if isinstance(files, dict) else {}


def finish_commit(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Give their names to the files of a change that was committed and then interrupted.

    Raises:
        LeadlineError: the artefact may not be written.
    """
    for name, digest in files_of(manifest).items():
        pending = directory / pending_name(name)
        if not is_inside(name) or not pending.is_file() or pending.is_symlink():
            continue
        try:
            if sha256(pending) == digest:
                pending.replace(directory / name)
        except FileNotFoundError:
            continue  # another process has done it
        except OSError as error:
            raise LeadlineError(
                f"A change of this artefact was interrupted and cannot be finished here "
                f"({error.strerror}).",
                remedy="Read it once from where it may be written.",
                file=directory,
            ) from error


def check_files(
    directory: Path,
    manifest: Mapping[str, Any],
    names: Iterable[str],
    *,
    remedy: str,
) -> None:
    """Check files of an artefact against the hashes in its manifest, read in pieces.

    Args:
        directory: of the artefact.
        manifest: its manifest.
        names: the files that are about to be read.
        remedy: what to do about one that is not as it was written.

    Raises:
        LeadlineError: a file is absent or not the one that was written, or has no hash.
    """
    recorded = files_of(manifest)
    for name in names:
        digest, file = recorded.get(name), directory / name
        if not is_inside(name):
            problem = "The manifest names a file outside its directory."
            raise LeadlineError(problem, remedy=remedy, file=directory / MANIFEST)
        if digest is None:
            problem = f"The manifest has no hash of {name}, so nobody can tell what was changed."
            raise LeadlineError(problem, remedy=remedy, file=directory / MANIFEST)
        try:
            digest_now = sha256(file)
        except OSError as error:
            raise LeadlineError(
                f"This file cannot be read ({error.strerror}).", remedy=remedy, file=file
            ) from error
        if digest_now != digest:
            raise LeadlineError(
                "This file is not the one that was written (its SHA-256 differs).",
                remedy=remedy,
                file=file,
            )


def manifest_of(directory: Path) -> dict[str, Any] | None:
    """The manifest of an artefact of Leadline, of any kind; None of what is none.

    Any program may keep a file of this name, so a pipe or a device is not opened, nor is a file
    that is larger than any manifest of Leadline.
    """
    file = directory / MANIFEST
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_MANIFEST:
            return None
        content = _parsed(file)
    except (OSError, ValueError, RecursionError):
        return None
    is_own = isinstance(content, dict) and {"kind", "format", "leadline"} <= content.keys()
    return content if is_own else None


def read_manifest(directory: Path, kind: str) -> dict[str, Any]:
    """Read and check the manifest of a finished artefact of `kind`.

    A change of it that was interrupted after it was committed is finished first.

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
    manifest = read_json(
        path,
        format=MANIFEST_FORMAT,
        remedy=f"Restore the file from a copy, or make the {kind} again with this version.",
        what="manifest",
        problem="The manifest cannot be read as JSON that Leadline wrote.",
    )
    if manifest.get("kind") != kind:
        raise LeadlineError(
            f"Expected a {kind}, found {shown_kind(manifest)}.",
            remedy=f"Give the path of a {kind} directory.",
            file=directory,
        )
    wrong = _misshapen(manifest, NEEDED.get(kind, ()))
    if wrong:
        raise LeadlineError(
            f"The entry {wrong} of the manifest is absent, or not as Leadline writes it.",
            remedy=f"Restore the file from a copy, or make the {kind} again with this version.",
            file=path,
        )
    finish_commit(directory, manifest)
    return manifest


def _misshapen(manifest: Mapping[str, Any], needed: Iterable[str]) -> str:
    """The name of an entry that is absent or of another shape than is written; empty if none is."""
    for name, is_shaped in SHAPES.items():
        if not is_shaped(manifest[name]) if name in manifest else name in needed:
            return name
    return ""


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_table_of_texts(value: Any) -> bool:
    return _is_table(value) and all(isinstance(entry, str) for entry in value.values())


def _is_table_of_counts(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(type(count) is int and count >= 0 for count in value.values() if count is not None)


def _is_table_or_nothing(value: Any) -> bool:
    return value is None or _is_table(value)


SHAPES: dict[str, Callable[[Any], bool]] = {
    "settings": _is_table,
    "inputs": _is_table_of_texts,
    "counts": _is_table_of_counts,
    "locked_test": _is_table_or_nothing,
    "changed": lambda value: value is None or isinstance(value, (dict, list)),
    "import": _is_table_or_nothing,
    "training": _is_table,
    "readers": _is_table,
    "steps": _is_table_or_nothing,
    "questionnaire": _is_table_or_nothing,
    "selection": lambda value: isinstance(value, list),
    "simulated": lambda value: isinstance(value, bool),
    "text_may_leave": lambda value: isinstance(value, bool),
    "command": lambda value: isinstance(value, str),
    "written": lambda value: isinstance(value, str),
}
"""Entry of a manifest -> whether a value has its shape; others are not looked at by a verb."""

NEEDED = {
    "cohort": ("settings", "inputs", "counts"),
    "labels": ("settings", "inputs"),
    "run": ("settings", "inputs"),
}
"""Kind -> entries that its manifest has had from the first version on."""


def check_place(out: Path) -> None:
    """Raise `LeadlineError` unless something can be written at `out`."""
    above = next(folder for folder in (out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise LeadlineError(
            "The output cannot be made here.",
            remedy="Choose an --out in a folder that exists and that you may write to.",
            file=out,
        )
