"""One door for outputs: what lies at a place, who may replace it, and how it is replaced.

A named artefact is made in a scratch directory beside its place and takes the place at one instant
(`new_directory`). Only an artefact of the same kind, with nothing in it that Leadline did not
write, is replaced; an output never holds, lies in or is one of the inputs. Whoever makes an
artefact has a lock from the start to the end (`holding`). What a killed process left beside the
place, under a name of this module, goes when the artefact is made again, and that is logged.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline.artefact import (
    FILE_MODE,
    KINDS,
    MANIFEST,
    NO_SYNC,
    SCRATCH,
    check_place,
    close_to_others,
    files_of,
    manifest_of,
    pending_name,
    replacing,
    shown_kind,
    sync,
    take_lock,
)
from leadline.errors import LeadlineError

BUSY = "Another process is writing here.", "Wait until it ends, or choose another --out."

AWAY = "Choose another --out, or move it away yourself."

WEIGHTS_SCRATCH = r"\.tmp[A-Za-z0-9]{6}"
"""Names that safetensors gives to files of weights until they are whole."""

FIT = (
    r"\.?[a-z0-9-]+(\.safetensors|\.lock|\.training(/.*)?|\.partial-[a-z0-9_]{8}(/.*)?"
    r"|/(model\.safetensors|(config|curve|manifest)\.json))?"
)
"""What a fitted model is on disk: a file, or a folder, and what lies there while it is made."""

OWN_FILES = {
    "cohort": r"(turns|phq9|people|folds|near_copies)\.parquet|locked-test\.jsonl"
    r"|\.(folds\.parquet|locked-test\.jsonl)\.lock|truth(/[a-z0-9_]+\.(parquet|json))?",
    "run": r"[a-z0-9-]+\.parquet|(begun|results|further|fusion|selftraining)\.json"
    rf"|config\.toml|report\.html|(checkpoint|steps/[a-z0-9-]+)(/({FIT}|(model|items)\.json))?|steps"
    rf"|(checkpoint|steps|nodes)/(.*/)?{WEIGHTS_SCRATCH}"
    rf"|nodes(/[^/]+\.npz|/fits(/{FIT})?)?",
    "labels": r"labels\.parquet|(requests|thoughts)\.sqlite(-wal|-shm|-journal|\.lock)?",
    "export": "",
    "reader": r"LICENSE|README\.md|\.gitattributes",
}
"""Names that Leadline gives in each kind of artefact beside those that its manifest lists."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2

NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

LONGEST_NAME = 200
"""Bytes of a name: most file systems take 255, and what is made beside it adds to its name."""

LOG = logging.getLogger(__name__)

_HELD = threading.local()


def check_output(
    path: Path, kind: str, inputs: Iterable[Path | None] = (), *, overwrite: bool = False
) -> None:
    """Raise unless a directory of `kind` may be made at `path` from `inputs`.

    Raises:
        LeadlineError: something lies there that may not be replaced, `path` and an input overlap,
            `path` lies in another artefact or is a link, or nothing can be written there.
    """
    check_apart(path, inputs)
    if path.is_dir() and not any(path.iterdir()):
        return
    if not path.exists():
        return
    if not overwrite:
        remedy = "Choose another --out, or add --overwrite to replace it."
        raise LeadlineError("The output already exists.", remedy=remedy, file=path)
    check_own(path, kind)


def check_begun(
    path: Path, kind: str, signs: Iterable[str], inputs: Iterable[Path | None] = ()
) -> None:
    """Raise unless an artefact of `kind` may be begun at `path`, or gone on with, in place.

    Args:
        path: the place.
        kind: of the artefact.
        signs: names of files of which an unfinished one has at least one.
        inputs: whatever is read to make it.

    Raises:
        LeadlineError: as `check_apart`, or something else lies there.
    """
    check_apart(path, inputs)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    manifest = manifest_of(path)
    if manifest is not None:
        check_own(path, kind)
    elif not any((path / name).is_file() for name in signs):
        raise LeadlineError(
            f"The output exists and is no {kind} that Leadline began.", remedy=AWAY, file=path
        )


def check_file(
    out: Path,
    inputs: Iterable[Path | None],
    is_own: Callable[[Path], bool],
    *,
    overwrite: bool = False,
) -> None:
    """Raise unless one file may be made at `out`.

    Args:
        out: the place.
        inputs: whatever is read to make it.
        is_own: whether a file is of the kind that is to be made.
        overwrite: a file of that kind may be replaced.

    Raises:
        LeadlineError: as `check_apart`, or something lies there that may not be replaced.
    """
    check_apart(out, inputs)
    if out.is_dir() or (out.exists() and not overwrite):
        remedy = "Choose another --out, or add --overwrite to replace the file."
        raise LeadlineError("The output already exists.", remedy=remedy, file=out)
    if out.exists() and not is_own(out):
        problem = "The output exists and is no file of this kind, so it is not replaced."
        raise LeadlineError(problem, remedy=AWAY, file=out)


def check_name(path: Path) -> None:
    """Raise unless a name is UTF-8 without a null: no table, manifest or page could hold another.

    Raises:
        LeadlineError: it is not; the name is not shown.
    """
    try:
        is_name = b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        problem = "The name of this file or folder holds bytes that are no UTF-8."
        raise LeadlineError(problem, remedy="Rename it, as with convmv, or choose another.")


def check_apart(out: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Raise unless `out` is a place that can be written and that touches no input.

    Names are compared after every link was followed, and files and folders by identity too, so
    that hard links and mounts count.

    Raises:
        LeadlineError: `out` is a link, lies in another artefact, cannot be written, or is, holds
            or lies in one of `inputs`.
    """
    check_name(out)
    if out.name in ("", "..") or len(out.name.encode()) > LONGEST_NAME:
        problem = f"The output needs a name of its own, of up to {LONGEST_NAME} bytes."
        raise LeadlineError(problem, remedy="Name what is to be made, such as ./result.")
    if out.is_symlink():
        remedy = "Give the place that it points to."
        raise LeadlineError("The output is a link.", remedy=remedy, file=out)
    check_place(out)
    for source in inputs:
        if source is not None and source.exists() and _overlap(out, source):
            raise LeadlineError(
                "The output is, holds or lies in something that is read for it.",
                remedy=f"Choose an --out apart from {source}.",
                file=out,
            )
    for folder in Path(os.path.realpath(out)).parents:
        if manifest_of(folder) is not None:
            problem = "The output lies in an artefact that Leadline wrote."
            raise LeadlineError(problem, remedy=f"Choose an --out outside {folder}.", file=out)


def _overlap(out: Path, source: Path) -> bool:
    """Whether one of two places is, or holds, the other."""
    real_out, real_source = Path(os.path.realpath(out)), Path(os.path.realpath(source))
    if real_out.is_relative_to(real_source) or real_source.is_relative_to(real_out):
        return True
    if any(_same(folder, real_source) for folder in (real_out, *real_out.parents)):
        return True
    if any(_same(folder, real_out) for folder in real_source.parents):
        return True
    if real_out.is_file() and real_out.stat().st_nlink > 1 and real_source.is_dir():
        return any(_same(file, real_out) for file in real_source.rglob("*"))
    return False


def _same(path: Path, second: Path) -> bool:
    try:
        return path.samefile(second)
    except OSError:
        return False


def check_own(path: Path, kind: str) -> None:
    """Raise unless `path` is an artefact of `kind` in which everything is Leadline's.

    Raises:
        LeadlineError: it is not, and so is not replaced.
    """
    manifest = manifest_of(path) if path.is_dir() else None
    if manifest is None:
        problem = "The output exists and was not written by Leadline, so it is not replaced."
        raise LeadlineError(problem, remedy=AWAY, file=path)
    if manifest["kind"] != kind:
        article = "a " if manifest["kind"] in KINDS else ""
        raise LeadlineError(
            f"What lies here is {article}{shown_kind(manifest)}, not a {kind!r}, so it is not "
            "replaced.",
            remedy=AWAY,
            file=path,
        )
    check_no_strangers(path, kind, manifest)


def check_no_strangers(path: Path, kind: str, manifest: Mapping[str, Any]) -> None:
    """Raise `LeadlineError` if an artefact, finished or not, holds what Leadline does not write."""
    stranger = next(strangers(path, kind, manifest), None)
    if stranger is not None:
        raise LeadlineError(
            f"This {kind} holds something that Leadline did not write, so it is not replaced.",
            remedy="Move that away, or choose another --out.",
            file=stranger,
        )


def strangers(path: Path, kind: str, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """What lies in an artefact under a name that Leadline does not give there."""
    names = [*files_of(manifest), MANIFEST]
    listed = {*names, *(pending_name(name) for name in names)}
    listed |= {str(folder) for name in names for folder in Path(name).parents}
    of_kind = OWN_FILES.get(kind, "")
    own_names = re.compile(f"{of_kind}|\\.({of_kind})\\.pending|(.*/)?{SCRATCH}")
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            entry = Path(folder, name)
            inside = str(entry.relative_to(path))
            if inside not in listed and own_names.fullmatch(inside) is None:
                yield entry


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the artefact at `path`, there or not, for this process alone.

    The lock is a file beside it, which goes at the end; a killed process leaves the file, without
    the lock. One thread may hold the same artefact several times.

    Raises:
        LeadlineError: another process holds it, or nothing can be made here.
    """
    name = os.path.realpath(path)
    places: set[str] = _HELD.__dict__.setdefault("names", set())
    if name in places:
        yield
        return
    handle, lock = _take(Path(name))
    places.add(name)
    try:
        yield
    finally:
        places.discard(name)
        try:
            if lock is not None:
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """As `holding`, of a finished artefact whose files change: what a kill left in it goes first.

    Raises:
        LeadlineError: as `holding`.
    """
    with holding(path):
        clear_scratch(path)
        yield


def _take(path: Path) -> tuple[int, Path | None]:
    """The handle of a lock on the real `path`, and the file that was made for it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        handle, has_file = _open_lock(path, lock)
        try:
            take_lock(handle, *BUSY, path)
        except LeadlineError:
            os.close(handle)
            raise
        if not has_file:
            return handle, None
        if _still_named(handle, lock):
            return handle, lock
        os.close(handle)  # its holder has just removed the file: try again with a new one


def _still_named(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except OSError:
        return False


def _open_lock(path: Path, lock: Path) -> tuple[int, bool]:
    """A handle to lock: of the file `lock`, or of the folder itself where no file can be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, FILE_MODE), True
    except OSError as error:
        if path.is_dir():
            return os.open(path, os.O_RDONLY), False
        raise _unmade(path, error) from error


def _unmade(path: Path, error: OSError) -> LeadlineError:
    return LeadlineError(
        f"The output cannot be made here ({error.strerror}).",
        remedy="Choose an --out in a folder that exists and that you may write to.",
        file=path,
    )


@contextmanager
def new_directory(
    path: Path, kind: str, inputs: Iterable[Path | None] = (), *, overwrite: bool = False
) -> Iterator[Path]:
    """Give a scratch directory that becomes `path` if the block ends without an error.

    At any instant `path` is what it was, or the new artefact whole. On an error the scratch is
    removed and `path` is as it was before.

    Args:
        path: the place.
        kind: of the artefact, as its manifest names it.
        inputs: whatever is read to make it; None among them is left out.
        overwrite: an artefact of the same kind may be replaced.

    Raises:
        LeadlineError: `check_output` refuses, or another process writes here.
    """
    inputs = tuple(inputs)
    try:
        check_output(path, kind, inputs, overwrite=overwrite)
    except LeadlineError:
        _clear_lock(path)
        raise
    with holding(path):
        recover_replaced(path)
        clear_leftovers(path)
        check_output(path, kind, inputs, overwrite=overwrite)
        try:
            scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.partial-"))
        except OSError as error:
            raise _unmade(path, error) from error
        try:
            yield scratch
            check_output(path, kind, inputs, overwrite=overwrite)
            close_to_others(scratch)
            put_in_place(scratch, path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


@contextmanager
def new_file(
    path: Path,
    inputs: Iterable[Path | None],
    is_own: Callable[[Path], bool],
    *,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Give a scratch file that becomes `path` if the block ends without an error.

    As `new_directory`, for an artefact of one file; the arguments are `check_file`'s.

    Raises:
        LeadlineError: `check_file` refuses, or another process writes here.
    """
    inputs = tuple(inputs)
    try:
        check_file(path, inputs, is_own, overwrite=overwrite)
    except LeadlineError:
        _clear_lock(path)
        raise
    with holding(path):
        pattern = re.compile(re.escape(f".{path.name}.") + r"\d+-[0-9a-f]{8}")
        _clear_files(entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name))
        check_file(path, inputs, is_own, overwrite=overwrite)
        with replacing(path) as scratch:
            yield scratch


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder for words of people in this machine's place for scratch, which goes at the end.

    It is locked while it is used. What killed processes left there under the same name goes
    first, so that no transcript stays for good.

    Args:
        name: what it is for, in letters and hyphens.
    """
    prefix = f"leadline-{name}-"
    _clear_unlocked(Path(tempfile.gettempdir()), prefix)
    handle, folder = _locked_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _locked_folder(prefix: str) -> tuple[int, Path]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        handle = _free_folder(folder)
        if handle is not None:
            return handle, folder


def _free_folder(folder: Path) -> int | None:
    """The handle by which a folder that nobody uses is locked now; None of any other."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        take_lock(handle, *BUSY, folder)
    except LeadlineError:
        os.close(handle)
        return None
    if _still_named(handle, folder):
        return handle
    os.close(handle)  # another process took it for a leftover
    return None


def _clear_unlocked(place: Path, prefix: str) -> None:
    for folder in place.glob(f"{prefix}*"):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            continue
        handle = _free_folder(folder)
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
            LOG.warning("Removed what an interrupted command had left here: %s", folder)


def _clear_lock(path: Path) -> None:
    """Remove the lock of a process that was killed when `path` had just been finished."""
    try:
        lock = path.with_name(f".{path.name}.lock")
        handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    except (OSError, ValueError):  # a name with a null, or none, is a value
        return
    try:
        take_lock(handle, *BUSY, path)
        if _still_named(handle, lock):
            lock.unlink(missing_ok=True)
    except (LeadlineError, OSError):
        pass  # somebody has it, or nothing can be changed here: the refusal says enough
    finally:
        os.close(handle)


def clear_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path`, which the caller holds."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.partial-[a-z0-9_]{{8}}")
    for entry in path.parent.iterdir():
        if pattern.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
            LOG.warning("Removed what an interrupted command had left here: %s", entry)


def clear_scratch(folder: Path) -> None:
    """Remove what processes that are gone left half written in `folder`, which the caller holds."""
    for entry in folder.rglob(".*"):
        of_weights = entry.parent != folder and re.fullmatch(WEIGHTS_SCRATCH, entry.name)
        of_ours = re.fullmatch(SCRATCH, entry.name) and not _is_at_work(entry.name)
        if of_weights or of_ours:
            _clear_files([entry])


def _clear_files(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_file() and not entry.is_symlink():
            entry.unlink(missing_ok=True)
            LOG.warning("Removed what an interrupted command had left here: %s", entry)


def _is_at_work(scratch: str) -> bool:
    """Whether the process that gave a scratch file its name is another one that still runs."""
    number = int(scratch.rpartition(".")[2].partition("-")[0])
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return number != os.getpid()


def replaced_name(path: Path) -> Path:
    """Where what is replaced lies for a moment, on a system that cannot swap two names."""
    return path.with_name(f".{path.name}.replaced")


def recover_replaced(path: Path) -> None:
    """Put back what a process, killed while replacing it, had moved aside; the caller holds it."""
    aside = replaced_name(path)
    if not aside.is_dir() or aside.is_symlink() or manifest_of(aside) is None:
        return
    if not path.exists():
        aside.replace(path)
        LOG.warning("Put back what an interrupted command had moved aside: %s", path)
    elif manifest_of(path) is not None:
        shutil.rmtree(aside, ignore_errors=True)
        LOG.warning("Removed what an interrupted command had left here: %s", aside)


def put_in_place(scratch: Path, path: Path) -> None:
    """Let the finished directory `scratch` take the place of `path`, and remove what was there.

    Everything in it is on the disk before its name is. The old and the new swap names at one
    instant where the system can; else the old lies under `replaced_name` between two renames,
    where `recover_replaced` finds it.
    """
    _sync_tree(scratch)
    if not path.exists() or not any(path.iterdir()):
        scratch.replace(path)
        _sync_names(path.parent)
        return
    old = scratch
    if not exchange(scratch, path):
        old = replaced_name(path)
        path.replace(old)
        scratch.replace(path)
    _sync_names(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Swap two names at one instant; False where this system or file system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))


def _sync_tree(top: Path) -> None:
    for folder, _, files in os.walk(top):
        for name in files:
            sync(Path(folder, name))
        _sync_names(Path(folder))


def _sync_names(folder: Path) -> None:
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
