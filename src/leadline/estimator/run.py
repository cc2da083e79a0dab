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
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from leadline.artefact import MANIFEST, read_manifest, write_json
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
CHECKPOINT_FORMAT = 1
CONFIG = "config.toml"


@contextmanager
def run_directory(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """The directory of a run in the making; an unfinished run of the same settings goes on.

    Raises:
        LeadlineError: the run is finished, or unfinished with other settings, or the directory
            holds something else.
    """
    text = to_toml(settings)
    if overwrite and (path / MANIFEST).is_file():
        read_manifest(path, "run")
        shutil.rmtree(path)
    if (path / MANIFEST).is_file():
        raise LeadlineError(
            "This run is finished.",
            remedy="Choose another --out, or add --overwrite to replace it.",
            file=path,
        )
    config = path / CONFIG
    if path.exists() and any(path.iterdir()):
        if not config.is_file():
            raise LeadlineError(
                "The output exists and is not a run.",
                remedy="Choose another --out, or remove it yourself.",
                file=path,
            )
        if config.read_text(encoding="utf-8") != text:
            raise LeadlineError(
                "An unfinished run with other settings or inputs lies here.",
                remedy="Repeat the command that it was started with, choose another --out, "
                "or remove the directory.",
                file=path,
            )
    path.mkdir(parents=True, exist_ok=True)
    config.write_text(text, encoding="utf-8")
    yield path


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as TOML: tables of plain values and of lists of plain values."""
    lines = []
    for table, values in settings.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {_toml_value(value)}" for name, value in values.items()]
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
        # Its own directory was written when it was trained.
        return {"kind": "adapted", "scalar": model.scalar, "calibration": calibration}
    tensors: dict[str, Any] = {}
    parts = []
    for number, (views, head) in enumerate(model.parts):
        plain, arrays = head_state(head)
        parts.append({"views": list(views), "settings": plain})
        tensors |= {f"{number}.{key}": np.ascontiguousarray(x) for key, x in arrays.items()}
    save_file(tensors, folder / f"{name}.safetensors")
    return {
        "kind": "frozen",
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
    read_manifest(run, "run")
    about = _read_model_json(run / CHECKPOINT / "model.json")
    train = TrainConfig(**{**about["train"], "layers": tuple(about["train"]["layers"])})
    source = None
    if about["readers"]:
        source = open_source(train, home=home)
        if source.identities != about["readers"]:
            raise LeadlineError(
                "The readers here are not those that the run was trained with.",
                remedy="Fetch the same readers and versions, or train again.",
                file=run / CHECKPOINT / "model.json",
            )
    members = tuple(
        Member(entry["repeat"], entry["fold"], _load_model(run / CHECKPOINT, entry, home))
        for entry in about["members"]
    )
    left_out = read_ledger(pl.read_parquet(run / "ledger.parquet"))
    return Ensemble(members, left_out, source, train.pool), WindowConfig(**about["window"])


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
        raise LeadlineError(
            "The description of the checkpoint cannot be read.",
            remedy="Restore the file from a copy, or train again.",
            file=path,
        ) from error
    if version != CHECKPOINT_FORMAT:
        raise LeadlineError(
            f"The checkpoint has format {version!r}; this version reads {CHECKPOINT_FORMAT}.",
            remedy="Train again with this version of Leadline.",
            file=path,
        )
    return dict(about)


def _load_model(folder: Path, entry: Mapping[str, Any], home: Path | None) -> Model:
    calibration = restore_calibration(entry["calibration"])
    path = folder / f"{entry['file']}.safetensors"
    if entry["kind"] == "adapted":
        from leadline.estimator.regressor import FinetunedModel

        model = FinetunedModel.load(folder / entry["file"], home=home)
        return AdaptedModel(model, calibration, bool(entry["scalar"]))
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LeadlineError(
            "The weights of the checkpoint cannot be read.",
            remedy="Restore the file from a copy, or train again.",
            file=path,
        ) from error
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
