"""A run on disk: settings, checkpoint, ledger, predictions, estimates; manifest last.

While a run is being made its directory has no manifest, and the same command goes on where it
stopped. A checkpoint is safetensors and JSON, never pickle, so loading one runs no code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from leadline.artefact import MANIFEST, check_place, read_manifest, sha256, write_json
from leadline.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.estimator.closedform import head_state, restore_head
from leadline.estimator.design import StateSource
from leadline.estimator.ensemble import (
    AdaptedModel,
    Ensemble,
    Member,
    Model,
    plain_calibration,
    read_ledger,
    restore_calibration,
)
from leadline.estimator.frozen import Candidate, FrozenModel
from leadline.estimator.reader import ReaderConfig
from leadline.estimator.settings import TrainConfig

CHECKPOINT = "checkpoint"
CHECKPOINT_FORMAT = 2
CONFIG = "config.toml"


@contextmanager
def run_directory(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """The directory of a run in the making; an unfinished run of the same settings goes on.

    A run that is replaced lies beside it until the new one is finished. After a `LeadlineError`
    a new directory is removed and the replaced run is back; after anything else (a kill, a
    defect) what was finished stays, to go on from.

    Raises:
        LeadlineError: the run is finished, or unfinished with other settings, or the directory
            holds something else, or cannot be made.
    """
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


def save_ensemble(run: Path, ensemble: Ensemble, train: TrainConfig, window: WindowConfig) -> None:
    """Write the checkpoint of a run."""
    folder = run / CHECKPOINT
    folder.mkdir(exist_ok=True)
    members = []
    for member in ensemble.members:
        name = f"repeat-{member.repeat}-fold-{member.fold}"
        plain = {"repeat": member.repeat, "fold": member.fold, "file": name}
        members.append(plain | _save_model(folder, name, member.model))
    write_json(
        folder / "model.json",
        {
            "format": CHECKPOINT_FORMAT,
            "readers": ensemble.source.identities if ensemble.source else {},
            "train": asdict(train),
            "window": asdict(window),
            "members": members,
        },
    )


def _save_model(folder: Path, name: str, model: Model) -> dict[str, Any]:
    calibration = plain_calibration(model.calibration)
    if isinstance(model, AdaptedModel):
        from leadline.estimator.regressor import WEIGHTS

        # Its own directory was written when it was trained.
        return {
            "kind": "adapted",
            "scalar": model.scalar,
            "sha256": sha256(folder / name / WEIGHTS),
            "calibration": calibration,
        }
    tensors: dict[str, Any] = {}
    parts = []
    for number, (views, head) in enumerate(model.parts):
        plain, arrays = head_state(head)
        parts.append({"views": list(views), "settings": plain})
        tensors |= {f"{number}.{key}": np.ascontiguousarray(x) for key, x in arrays.items()}
    file = folder / f"{name}.safetensors"
    save_file(tensors, file)
    return {
        "kind": "frozen",
        "sha256": sha256(file),
        "candidate": asdict(model.candidate),
        "parts": parts,
        "calibration": calibration,
    }


def load_ensemble(run: Path, *, home: Path | None = None) -> tuple[Ensemble, WindowConfig]:
    """The ensemble of a finished run, with its readers opened, and its window.

    Raises:
        LeadlineError: unfinished run, damaged checkpoint, a checkpoint of another format, or a
            reader that is absent or of another revision than the one trained on.
    """
    manifest = read_manifest(run, "run")
    file = run / CHECKPOINT / "model.json"
    about = _read_model_json(file)
    for name in (f"{CHECKPOINT}/model.json", "ledger.parquet"):
        _check_hash(run / name, (manifest.get("files") or {}).get(name))
    try:
        train = TrainConfig(**{**about["train"], "layers": tuple(about["train"]["layers"])})
        window = WindowConfig(**about["window"])
        readers, entries = dict(about["readers"]), list(about["members"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file) from error
    source = None
    if readers:
        source = open_source(train, home=home)
        if source.identities != readers:
            raise LeadlineError(
                "The readers here are not those that the run was trained with.",
                remedy="Fetch the same readers and versions, or train again.",
                file=file,
            )
    members = tuple(
        Member(entry["repeat"], entry["fold"], _load_model(run / CHECKPOINT, entry, home))
        for entry in entries
    )
    left_out = read_ledger(pl.read_parquet(run / "ledger.parquet"))
    return Ensemble(members, left_out, source, train.pool), window


def _check_hash(path: Path, expected: str | None) -> None:
    """Raise `LeadlineError` if a file is absent or not the one that training wrote."""
    if not path.is_file() or expected not in (None, sha256(path)):
        raise _damaged(path)


def _damaged(path: Path) -> LeadlineError:
    return LeadlineError(
        "This file of the run is absent, or not as training wrote it.",
        remedy="Restore the run from a copy, or train again.",
        file=path,
    )


def open_source(train: TrainConfig, *, home: Path | None = None) -> StateSource:
    """The readers of a run's settings."""
    config = ReaderConfig(
        layers=train.layer_numbers(), state=train.state, max_tokens=train.max_tokens
    )
    return StateSource(train.reader, config, home=home)


def _read_model_json(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        version = about["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if version != CHECKPOINT_FORMAT:
        raise LeadlineError(
            f"The checkpoint has format {version!r}; this version reads {CHECKPOINT_FORMAT}.",
            remedy="Train again with this version of Leadline.",
            file=path,
        )
    return dict(about)


def _load_model(folder: Path, entry: Mapping[str, Any], home: Path | None) -> Model:
    calibration = restore_calibration(entry["calibration"])
    if entry["kind"] == "adapted":
        from leadline.estimator.regressor import WEIGHTS, FinetunedModel

        _check_hash(folder / entry["file"] / WEIGHTS, entry["sha256"])
        model = FinetunedModel.load(folder / entry["file"], home=home)
        return AdaptedModel(model, calibration, bool(entry["scalar"]))
    path = folder / f"{entry['file']}.safetensors"
    _check_hash(path, entry["sha256"])
    tensors = load_file(path)
    parts = tuple(
        (
            tuple(part["views"]),
            restore_head(
                part["settings"],
                {
                    key.removeprefix(f"{number}."): value
                    for key, value in tensors.items()
                    if key.startswith(f"{number}.")
                },
            ),
        )
        for number, part in enumerate(entry["parts"])
    )
    return FrozenModel(Candidate(**entry["candidate"]), parts, calibration)
