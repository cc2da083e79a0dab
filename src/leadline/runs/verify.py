"""`leadline verify`: what of an artefact on disk is not as it was written.

Each file is held against its hash in the manifest, read in pieces. Then what the files say is held
against what can be written: columns and heights of a cohort, the record of its locked test, the
checkpoint of a run, estimates that are finite. No reader is opened, nothing of a file is quoted.
What reads checkpoints is imported for runs and estimates alone: it needs torch.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.artefact import MANIFEST, check_files, files_of, manifest_of, read_manifest, sha256
from leadline.cohort.lock_record import HEAD, RECORD, read_history
from leadline.cohort.store import CHANGED, FILES, check_tables
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.further import read_further
from leadline.evaluate.run_results import ESTIMATES_FILE, RESULTS_FILE, read_results, read_table
from leadline.output import strangers
from leadline.profiles.scores import check_profiles
from leadline.readers.fetch import FETCH_AGAIN, check_reader
from leadline.runs.description import REMEDY, RUN_FILES
from leadline.tables import IDENTIFYING, check_estimates
from leadline.teacher.label_table import ANSWERS_KEPT, LABELS_FILE, read_labels

MATCHES, UNBOUND, WRONG = "matches", "no hash", "wrong"
"""States of a file: as it was written; that no hash binds; not as it was written."""

KINDS = ("cohort", "labels", "run", "export", "reader")

REMEDIES = {
    "cohort": CHANGED,
    "labels": ANSWERS_KEPT,
    "run": REMEDY,
    "export": "Export the run again.",
    "reader": FETCH_AGAIN,
}

LISTED = {
    "cohort": FILES,
    "labels": (LABELS_FILE,),
    "run": RUN_FILES,
    "export": (),
    "reader": ("config.json",),
}
"""Files that a manifest of each kind has to list."""

SCORE_AGAIN = "Score again with this version of Leadline."


@dataclass(frozen=True)
class Finding:
    """What is said of one file.

    Attributes:
        file: its name below the artefact.
        state: one of `MATCHES`, `UNBOUND` and `WRONG`.
        problem: what is wrong; empty unless it is.
        remedy: what to do about it.
    """

    file: str
    state: str
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Verification:
    """What was found of an artefact.

    Attributes:
        path: of the artefact, or of the file of estimates.
        kind: such as ``cohort``.
        findings: one of each file, by name; of a wrong one perhaps several.
    """

    path: Path
    kind: str
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """What is not as it was written."""
        return tuple(finding for finding in self.findings if finding.state == WRONG)

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        files = [asdict(finding) for finding in self.findings]
        return {"kind": self.kind, "matches": not self.wrong, "files": files}


def verify(path: Path | str) -> Verification:
    """Hold an artefact against its manifest and against what can be written.

    Args:
        path: a cohort, labels, run, export or fetched reader, a file in one, or a file of
            estimates.

    Raises:
        LeadlineError: there is no such thing here, or its manifest cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _verify_directory(path)
    if not path.is_file():
        raise LeadlineError(
            "There is nothing here that can be verified.",
            remedy="Give a cohort, labels, run, export or reader, or a file of estimates.",
            file=path,
        )
    for folder in path.absolute().parents:
        if manifest_of(folder) is not None:
            verification = _verify_directory(folder)
            name = path.absolute().relative_to(folder).as_posix()
            of_file = tuple(finding for finding in verification.findings if finding.file == name)
            return Verification(path, verification.kind, of_file)
    return Verification(path, "estimates", _verify_estimates(path))


def _verify_directory(path: Path) -> Verification:
    unchecked = manifest_of(path)
    kind = "artefact" if unchecked is None else unchecked["kind"]
    if unchecked is not None and kind not in KINDS:
        raise LeadlineError(
            "What lies here is of no kind that can be verified.",
            remedy=f"Give a directory of one of these kinds: {', '.join(KINDS)}.",
            file=path,
        )
    manifest = read_manifest(path, kind)
    wrong = [*_changed(path, kind, manifest), *_strangers(path, kind, manifest)]
    changed = {finding.file for finding in wrong}
    impossible = _impossible(path, kind, manifest)
    wrong += [finding for finding in impossible if finding.file not in changed]
    named = {finding.file for finding in wrong}
    bound = {*files_of(manifest), *_bound_elsewhere(path, kind, manifest)}
    rest = [
        Finding(name, MATCHES if name in bound else UNBOUND)
        for name in _names(path)
        if name not in named and name != MANIFEST
    ]
    return Verification(
        path, kind, tuple(sorted((*wrong, *rest), key=lambda finding: finding.file))
    )


def _names(path: Path) -> Iterator[str]:
    """Names of the files below an artefact."""
    for folder, _, files in os.walk(path):
        for name in files:
            yield Path(folder, name).relative_to(path).as_posix()


def _changed(path: Path, kind: str, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Files that the manifest does not list and should, or that differ from their hash."""
    for name in sorted({*LISTED[kind], *files_of(manifest)}):
        try:
            check_files(path, manifest, [name], remedy=REMEDIES[kind])
        except LeadlineError as error:
            yield Finding(name, WRONG, error.problem, error.remedy)


def _strangers(path: Path, kind: str, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """What Leadline did not write; of a checkpoint also what its description does not name."""
    names = {entry.relative_to(path).as_posix() for entry in strangers(path, kind, manifest)}
    if kind == "run":
        from leadline.runs.checkpoint import CHECKPOINT, STEPS

        written = {*files_of(manifest), *_files_of_models(path, manifest)}
        inside = re.compile(f"({CHECKPOINT}|{STEPS})/.*")
        names |= {name for name in _names(path) if inside.fullmatch(name) and name not in written}
    for name in sorted(names):
        yield Finding(name, WRONG, "Leadline did not write this.", "Move it away.")


def _bound_elsewhere(path: Path, kind: str, manifest: Mapping[str, Any]) -> set[str]:
    """Files of an artefact whose hash stands in another of its files."""
    if kind == "cohort":
        return {RECORD} if manifest.get(HEAD) else set()
    if kind != "run":
        return set()
    from leadline.runs.checkpoint import hashed_files

    names: set[str] = set()
    for folder, entries in _members(path, manifest):
        names |= {f"{folder}/{name}" for entry in entries for name in hashed_files(entry)}
    try:
        return names | {f"predictions-{split}.parquet" for split in read_further(path)}
    except LeadlineError:
        return names


def _files_of_models(path: Path, manifest: Mapping[str, Any]) -> set[str]:
    """Every file of the models of a run."""
    from leadline.runs.checkpoint import member_files

    return {
        f"{folder}/{name}"
        for folder, entries in _members(path, manifest)
        for entry in entries
        for name in member_files(entry)
    }


def _members(path: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The folder of each checkpoint of a run, with the entries of its models, if they are ones."""
    from leadline.runs.checkpoint import CHECKPOINT, checkpoint_members, step_members

    steps = manifest.get("steps")
    folders = [str(step) for step in steps.values() if step] if isinstance(steps, dict) else []
    readers = {CHECKPOINT: partial(checkpoint_members, path)}
    readers |= {folder: partial(step_members, path, folder) for folder in folders}
    for folder, read in readers.items():
        try:
            yield folder, read()
        except LeadlineError:
            continue  # `_impossible` says why


def _impossible(path: Path, kind: str, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """What a file says and nothing of Leadline can have written."""
    checks = {
        "cohort": _cohort_checks,
        "labels": lambda path, _: iter([partial(read_labels, path)]),
        "run": _run_checks,
        "export": lambda *_: iter(()),
        "reader": _reader_checks,
    }
    for check in checks[kind](path, manifest):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LeadlineWarning)  # files without a hash are listed
                check()
        except LeadlineError as error:
            file = path if error.file is None else error.file
            name = file.relative_to(path).as_posix() if file.is_relative_to(path) else MANIFEST
            yield Finding(name, WRONG, _with_row(error), error.remedy)


def _with_row(error: LeadlineError) -> str:
    row = f"row {error.row}" if isinstance(error.row, int) else error.row
    return error.problem if row is None else f"{error.problem} ({row})"


def _cohort_checks(path: Path, manifest: Mapping[str, Any]) -> Iterator[Any]:
    yield partial(check_tables, path, manifest)
    yield partial(read_history, path, manifest)


def _reader_checks(path: Path, _: Mapping[str, Any]) -> Iterator[Any]:
    yield partial(check_reader, path)


def _run_checks(path: Path, manifest: Mapping[str, Any]) -> Iterator[Any]:
    from leadline.runs.checkpoint import MODEL_FILE, check_member, check_run, step_members
    from leadline.runs.profiles import ITEMS_FILE, read_item_models

    yield partial(check_run, path)
    for folder, entries in _members(path, manifest):
        for entry in entries:
            yield partial(check_member, path / folder, entry)
    steps = manifest.get("steps")
    for folder in steps.values() if isinstance(steps, dict) else ():
        if folder:
            yield partial(step_members, path, str(folder))
    yield partial(read_further, path)
    if (path / ITEMS_FILE).is_file():
        yield partial(read_item_models, path / ITEMS_FILE)
    for file in sorted(path.glob("profiles*.parquet")):
        yield partial(_check_profiles, file)
    if (path / RESULTS_FILE).is_file():
        yield partial(read_results, path)
    if (path / MODEL_FILE).is_file():
        model = sha256(path / MODEL_FILE)
        yield partial(check_estimates_file, path / ESTIMATES_FILE, model=model)


def _check_profiles(file: Path) -> None:
    check_profiles(read_table(file), file)


def _verify_estimates(file: Path) -> tuple[Finding, ...]:
    try:
        says_of_what = check_estimates_file(file)
    except LeadlineError as error:
        return (Finding(file.name, WRONG, _with_row(error), error.remedy),)
    return (Finding(file.name, MATCHES if says_of_what else UNBOUND),)


def check_estimates_file(file: Path, *, model: str | None = None) -> bool:
    """Check every row of a file of estimates, some rows at a time.

    Args:
        file: the estimates.
        model: SHA-256 of the model that they have to be of; the one that the file names if None.

    Returns:
        Whether it says of which model it was made; files of before, and those of a run, do not.

    Raises:
        LeadlineError: it is no Parquet file of estimates, its pages are damaged, an estimate is not
            one, or is of another model than the file says.
    """
    from leadline.runs.estimates import run_of_estimates

    row = 1
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            if not set(parquet.schema_arrow.names) >= IDENTIFYING:
                raise LeadlineError("This is no file of estimates.", remedy=SCORE_AGAIN, file=file)
            model = model or run_of_estimates(file).get("model")
            for batch in parquet.iter_batches():
                table = pl.DataFrame(pl.from_arrow(batch))
                check_estimates(table, file, first=row)
                row += table.height
                if model and not (table["model_id"] == model[:16]).all():
                    raise LeadlineError(
                        "Estimates are of another model than they should be.",
                        remedy=SCORE_AGAIN,
                        file=file,
                    )
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise LeadlineError(
            "These estimates cannot be read.", remedy=SCORE_AGAIN, file=file
        ) from error
    return model is not None
