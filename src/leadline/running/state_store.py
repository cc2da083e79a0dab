"""What is kept of each person between two messages: in memory, on disk, within a budget.

A `ReadingState` holds what the next estimate needs: each reader's context, the states of the user
turns within the label window, counts of their hashed words, and the last estimate. It holds no text
and no token; it still tells about what was said, so its files are readable by their owner only.

One safetensors file a person, tensor by tensor, never pickle. Its metadata names the model that
it belongs to and a hash of its content: a file of another model or with a changed byte is not
used. A file is emptied before its person's reading goes on, so that what lies on disk is never
older than what was said to the caller; an empty file says that there was someone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.sparse import csr_matrix

from leadline.arrays import Ints, States
from leadline.artefact import check_place, locked, manifest_of, private_folder, replacing
from leadline.cohort.masking import NOT_ASKED, Asked
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.heads.terms import COLUMNS
from leadline.running.memory import restore_memory
from leadline.running.reader import Context

STATE_FORMAT = 2
READABLE = (1, STATE_FORMAT)  # format 1 lacks the latest time of any message

SUFFIX = ".safetensors"

OWN_NAMES = re.compile(
    r"[0-9a-f]{32}\.safetensors|\.[0-9a-f]{32}\.safetensors\.\d+-[0-9a-f]{8}|\.lock"
    r"|owner|\.owner\.\d+-[0-9a-f]{8}"
)
"""Names in a folder of states: states of people, the lock, and the name of who scores here."""

SPARSE = ("data", "indices", "indptr")  # the arrays of a sparse matrix


@dataclass(frozen=True)
class ReadingState:
    """One person up to now. Never changed, only replaced.

    Attributes:
        contexts: one a reader.
        states: of the kept user turns by reader, float32 (kept, width).
        sizes: tokens of each kept turn by reader, (kept,).
        words: of each kept turn, (kept,).
        times: of each kept turn, ``datetime64[us]``, (kept,).
        read: messages so far, all roles.
        turns: user turns so far; the last `kept` of them are the kept ones.
        edge: time of the last user turn that is no longer kept; NaT if all are.
        latest: the latest time of any message so far, all roles; NaT if none had one.
        questionnaire: what masking carries along.
        terms: counts of the words and characters of each kept turn, where the model looks at them.
    """

    contexts: tuple[Context, ...]
    states: tuple[States, ...]
    sizes: tuple[Ints, ...]
    words: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    times: npt.NDArray[np.datetime64] = field(default_factory=lambda: np.zeros(0, "datetime64[us]"))
    read: int = 0
    turns: int = 0
    edge: np.datetime64 = field(default_factory=lambda: np.datetime64("NaT", "us"))
    latest: np.datetime64 = field(default_factory=lambda: np.datetime64("NaT", "us"))
    questionnaire: Asked = NOT_ASKED
    terms: csr_matrix | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        memories = [c.memory.nbytes for c in self.contexts if c.memory is not None]
        counts = [] if self.terms is None else [getattr(self.terms, part) for part in SPARSE]
        arrays: list[npt.NDArray[Any]] = [
            *self.states, *self.sizes, self.words, self.times, *counts
        ]  # fmt: skip
        return sum(memories) + sum(x.nbytes for x in arrays)


def new_reading(widths: Sequence[int]) -> ReadingState:
    """Someone of whom nothing was read, by readers whose states have `widths` numbers."""
    return ReadingState(
        tuple(Context() for _ in widths),
        tuple(np.zeros((0, width), np.float32) for width in widths),
        tuple(np.zeros(0, np.int64) for _ in widths),
    )


def save_reading(path: Path, course: ReadingState, identity: str) -> int:
    """Write a course whole or not at all, readable by its owner only; the bytes written.

    Args:
        path: the file; its folder exists.
        course: what to write.
        identity: of the model that it belongs to.
    """
    tensors, description = _plain(course)
    text = json.dumps({"format": STATE_FORMAT, "identity": identity, **description}, sort_keys=True)
    meta = {"leadline": text, "digest": _digest(text, tensors)}
    # Not durable: one is written after every message, and the digest tells a damaged one.
    with replacing(path, mode=0o600, durable=False) as scratch:
        save_file(tensors, scratch, metadata=meta)
    return path.stat().st_size


def load_reading(path: Path, identity: str, devices: Sequence[torch.device]) -> ReadingState | None:
    """The course in a file; None if it is of another model, empty, or damaged (with a warning).

    Args:
        path: what `save_reading` wrote.
        identity: of the model that is to go on with it.
        devices: where each reader computes.
    """
    if path.stat().st_size == 0:
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            description = json.loads(meta["leadline"])
            if description["format"] not in READABLE or description["identity"] != identity:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check(meta, tensors)
        return _course(description, tensors, devices)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(
            f"The state file {path} is damaged ({type(error).__name__}); the person is read again.",
            LeadlineWarning,
            stacklevel=2,
        )
        return None


def _check(meta: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> None:
    if _digest(meta["leadline"], tensors) != meta["digest"]:
        raise ValueError("another content than was written")


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.blake2b(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():
            digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(course: ReadingState) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A course as contiguous tensors on the CPU and JSON values."""
    tensors: dict[str, torch.Tensor] = {
        "words": torch.from_numpy(course.words),
        "times": torch.from_numpy(course.times.view(np.int64)),
    }
    if course.terms is not None:
        for part in SPARSE:
            tensors[f"terms.{part}"] = torch.from_numpy(getattr(course.terms, part))
    for number, context in enumerate(course.contexts):
        tensors[f"{number}.states"] = torch.from_numpy(course.states[number])
        tensors[f"{number}.sizes"] = torch.from_numpy(course.sizes[number])
        memory = context.memory.tensors() if context.memory is not None else {}
        tensors |= {f"{number}.memory.{name}": value for name, value in memory.items()}
    description = {
        "contexts": [
            {
                "read": context.read,
                "lengths": context.lengths,
                "tokens": context.memory.tokens if context.memory is not None else None,
            }
            for context in course.contexts
        ],
        "read": course.read,
        "turns": course.turns,
        "edge": int(course.edge.astype(np.int64)),
        "latest": int(course.latest.astype(np.int64)),
        "asked": list(course.questionnaire),
    }
    return {name: value.cpu().contiguous() for name, value in tensors.items()}, description


def _course(
    description: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    devices: Sequence[torch.device],
) -> ReadingState:
    contexts = []
    for number, (entry, device) in enumerate(zip(description["contexts"], devices, strict=True)):
        prefix = f"{number}.memory."
        memory_tensors = {
            name.removeprefix(prefix): value.to(device)
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        memory = (
            None if entry["tokens"] is None else restore_memory(entry["tokens"], memory_tensors)
        )
        contexts.append(Context(entry["read"], tuple(entry["lengths"]), memory))
    times = tensors["times"].numpy().view("datetime64[us]")
    latest = np.fmax.reduce(times, initial=np.datetime64("NaT", "us"))
    if "latest" in description:
        latest = np.datetime64(description["latest"], "us")
    return ReadingState(
        contexts=tuple(contexts),
        states=tuple(tensors[f"{n}.states"].numpy() for n in range(len(contexts))),
        sizes=tuple(tensors[f"{n}.sizes"].numpy() for n in range(len(contexts))),
        words=tensors["words"].numpy(),
        times=times,
        read=description["read"],
        turns=description["turns"],
        edge=np.datetime64(description["edge"], "us"),
        latest=latest,
        questionnaire=Asked(*description["asked"]),
        terms=_terms(tensors),
    )


def _terms(tensors: Mapping[str, torch.Tensor]) -> csr_matrix | None:
    if "terms.data" not in tensors:
        return None
    parts = tuple(tensors[f"terms.{part}"].numpy() for part in SPARSE)
    return csr_matrix(parts, shape=(len(parts[2]) - 1, 2 * COLUMNS))


def _check_own(folder: Path) -> None:
    """Raise unless a folder is not there or holds states alone: they are removed in time.

    Raises:
        LeadlineError: it is an artefact, or lies in one, or holds something else.
    """
    places = Path(os.path.realpath(folder))
    in_artefact = any(manifest_of(place) is not None for place in (places, *places.parents))
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if in_artefact or not all(OWN_NAMES.fullmatch(name) for name in names):
        raise LeadlineError(
            "This folder holds something other than states, which are removed there in time.",
            remedy="Name an empty folder, or one that is not there, for the states alone.",
            file=folder,
        )


class StateStore:
    """The courses of many people; the least recently used leave first.

    Without a folder a course that leaves memory is lost; with one it lies on disk until its
    person is read on or the disk's budget is spent. Whoever was lost is remembered as such.

    Args:
        identity: of the model; courses of another are not used.
        devices: where each reader computes.
        folder: where courses lie on disk; None keeps them in memory alone. One process at a time.
        memory_bytes: that courses may take in memory; the newest one always stays.
        disk_bytes: that files may take.

    Raises:
        LeadlineError: the folder is in use by another process or cannot be made.
    """

    def __init__(
        self,
        identity: str,
        devices: Sequence[torch.device],
        *,
        folder: Path | None = None,
        memory_bytes: float,
        disk_bytes: float,
    ) -> None:
        self.identity, self.devices, self.folder = identity, devices, folder
        self.memory_bytes, self.disk_bytes = memory_bytes, disk_bytes
        self._courses: OrderedDict[str, ReadingState] = OrderedDict()
        self._bytes: dict[str, int] = {}
        self._unsaved: set[str] = set()
        self._lost: set[str] = set()
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._lock = ExitStack()
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        check_place(folder)
        _check_own(folder)
        private_folder(folder)
        problem, remedy = "Another process keeps its states here.", "End it, or use another folder."
        self._lock.enter_context(locked(folder / ".lock", problem, remedy, file=folder))
        for path in folder.glob(".*.*"):
            path.unlink(missing_ok=True)  # left by a process that was killed while writing
        files = [(path.stat(), path) for path in folder.glob(f"*{SUFFIX}")]
        files.sort(key=lambda pair: pair[0].st_mtime_ns)
        self._files.update((path, stat.st_size) for stat, path in files if stat.st_size)

    @property
    def memory_used(self) -> int:
        """Bytes of the courses in memory."""
        return sum(self._bytes.values())

    @property
    def disk_used(self) -> int:
        """Bytes of the files on disk."""
        return sum(self._files.values())

    def get(self, person_id: str) -> ReadingState | None:
        """The course of a person; None if there is none that can be used, see `lost`."""
        if person_id in self._courses:
            self._courses.move_to_end(person_id)
            return self._courses[person_id]
        path = self._path(person_id)
        if path is None or not path.exists():
            return None
        course = load_reading(path, self.identity, self.devices)
        if course is None:
            return None
        self._files[path] = self._files.pop(path)
        os.utime(path)
        self._hold(person_id, course)
        self._make_room()
        return course

    def lost(self, person_id: str) -> bool:
        """True if there was a course of this person that is gone or cannot be used."""
        path = self._path(person_id)
        return person_id in self._lost or (path is not None and path.exists())

    def put(self, courses: Mapping[str, ReadingState]) -> None:
        """Replace the courses of some people."""
        for person_id, course in courses.items():
            path = self._path(person_id)
            if path is not None:
                self._empty(path)
            self._hold(person_id, course)
            self._unsaved.add(person_id)
            self._lost.discard(person_id)
        self._make_room()

    def drop(self, person_id: str) -> None:
        """Remove the course of a person, as if nothing of them had been read."""
        self._courses.pop(person_id, None)
        self._bytes.pop(person_id, None)
        self._unsaved.discard(person_id)
        self._lost.discard(person_id)
        path = self._path(person_id)
        if path is not None:
            path.unlink(missing_ok=True)
            self._files.pop(path, None)

    def keep_only(self, person_ids: Collection[str]) -> int:
        """Remove the courses of everybody else, of whom there is no name left; how many."""
        paths = {self._path(person_id) for person_id in person_ids}
        here = set() if self.folder is None else set(self.folder.glob(f"*{SUFFIX}"))
        for path in here - paths:
            path.unlink(missing_ok=True)
            self._files.pop(path, None)
        others = [name for name in self._courses if name not in person_ids]
        for name in others:
            self.drop(name)
        return len(here - paths) + len(others)

    def flush(self) -> None:
        """Write what is not on disk yet; does nothing without a folder."""
        unsaved = [name for name in self._courses if name in self._unsaved]
        for person_id in unsaved if self.folder is not None else ():
            self._save(person_id)

    def close(self) -> None:
        """Write what is not on disk yet and let go of the folder."""
        self.flush()
        self._lock.close()

    def _path(self, person_id: str) -> Path | None:
        if self.folder is None:
            return None
        # A name may hold anything, and the folder need not tell who is in it.
        name = hashlib.blake2b(person_id.encode("utf-8", "surrogatepass"), digest_size=16)
        return self.folder / f"{name.hexdigest()}{SUFFIX}"

    def _hold(self, person_id: str, course: ReadingState) -> None:
        self._courses[person_id], self._bytes[person_id] = course, course.nbytes
        self._courses.move_to_end(person_id)

    def _make_room(self) -> None:
        used = self.memory_used
        while used > self.memory_bytes and len(self._courses) > 1:
            person_id = next(iter(self._courses))
            self._save(person_id)
            del self._courses[person_id]
            used -= self._bytes.pop(person_id)

    def _save(self, person_id: str) -> None:
        if person_id not in self._unsaved:
            return
        self._unsaved.discard(person_id)
        path = self._path(person_id)
        if path is None:
            self._lost.add(person_id)
            return
        size = save_reading(path, self._courses[person_id], self.identity)
        self._files.pop(path, None)
        self._files[path] = size
        used = self.disk_used
        while used > self.disk_bytes and self._files:
            oldest = next(iter(self._files))
            used -= self._files[oldest]
            self._empty(oldest)

    def _empty(self, path: Path) -> None:
        """Leave nothing of a file but that it was there."""
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        self._files.pop(path, None)
