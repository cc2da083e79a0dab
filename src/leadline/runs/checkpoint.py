"""A run on disk: settings, checkpoint, ledger, predictions, estimates; manifest last.

While a run is being made its directory has no manifest, and the same command goes on where it
stopped. A checkpoint is safetensors and JSON, never pickle, so loading one runs no code.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from leadline.artefact import (
    MANIFEST,
    check_files,
    read_json,
    read_manifest,
    replacing,
    sha256,
    write_json,
)
from leadline.cohort.config import WindowConfig, window_of
from leadline.cohort.masking import DETECTOR
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.run_results import read_table
from leadline.heads.calibration import Calibration
from leadline.heads.candidates import Candidate, FrozenModel
from leadline.heads.head import head_state, restore_head
from leadline.readers.arithmetic import (
    BEFORE_IT_WAS_KEPT,
    default_arithmetic,
    resolve_arithmetic,
)
from leadline.readers.backbone import default_device
from leadline.readers.config import ReaderConfig
from leadline.readers.fetch import DEFAULT_READERS, default_readers
from leadline.runs.config import AUTO, OWN, TrainConfig
from leadline.runs.description import DAMAGED, REMEDY, check_ledger, checked_members, damaged
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member, Model
from leadline.runs.ledger import read_ledger
from leadline.runs.state_source import StateSource

CHECKPOINT = "checkpoint"

STEPS = "steps"
"""The folder of the models that self-training made on the way, to be held against the test."""


def step_folder(name: str) -> str:
    """Where in a run the models of a step lie, by its name in the results."""
    return f"{STEPS}/{re.sub('[^a-z0-9]+', '-', name)}"


def run_identity(run: Path) -> str:
    """A short name of the run's model: the hash of its checkpoint's description."""
    return sha256(run / CHECKPOINT / "model.json")[:16]


UNCALIBRATED = (
    "This run is of an earlier version, whose adapted readers gave distributions that were not "
    "calibrated: their intervals hold fewer people than they say. Train it again."
)
MASKED_OTHERWISE = (
    "This run is of a version that blanked fewer spans of questionnaires than this one: what is "
    "blanked now was read in its training. Train it again where people were given a questionnaire."
)
SLOW_HERE = (
    "This run was trained in bfloat16, which this processor does not multiply: reading takes some "
    "times as long as in float32. Score it with --dtype float32, or train it again with that."
)
CHECKPOINT_FORMAT = 2

MODEL_FILE, LEDGER_FILE = f"{CHECKPOINT}/model.json", "ledger.parquet"


def save_ensemble(
    run: Path,
    ensemble: Ensemble,
    train: TrainConfig,
    window: WindowConfig,
    folder_name: str = CHECKPOINT,
) -> None:
    """Write the checkpoint of a run, or of one of its steps into a folder of another name."""
    folder = run / folder_name
    folder.mkdir(exist_ok=True, parents=True)
    members = []
    for member in ensemble.members:
        name = f"repeat-{member.repeat}-fold-{member.fold}"
        entry = {"repeat": member.repeat, "fold": member.fold, "file": name}
        members.append(entry | _save_model(folder, name, member.model))
    write_json(
        folder / "model.json",
        {
            "format": CHECKPOINT_FORMAT,
            "readers": ensemble.source.identities if ensemble.source else {},
            "train": asdict(train),
            "window": asdict(window),
            "detector": DETECTOR,
            "members": members,
        },
    )


def _save_model(folder: Path, name: str, model: Model) -> dict[str, Any]:
    calibration = model.calibration.to_plain()
    if isinstance(model, AdaptedModel):
        from leadline.finetune.model import SETTINGS, WEIGHTS

        # Its own directory was written when it was trained.
        return {
            "kind": "adapted",
            "scalar": model.scalar,
            "keeps_form": model.keeps_form,
            "sha256": sha256(folder / name / WEIGHTS),
            "settings_sha256": sha256(folder / name / SETTINGS),
            "calibration": calibration,
        }
    tensors: dict[str, Any] = {}
    parts = []
    for number, (views, head) in enumerate(model.parts):
        settings, arrays = head_state(head)
        parts.append({"views": list(views), "settings": settings})
        tensors |= {f"{number}.{key}": np.ascontiguousarray(x) for key, x in arrays.items()}
    file = folder / f"{name}.safetensors"
    with replacing(file) as scratch:
        scratch.write_bytes(save(tensors))  # save_file leaves scratch files of its own when killed
    return {
        "kind": "frozen",
        "sha256": sha256(file),
        "candidate": {
            "head": model.candidate.head,
            "apart": model.candidate.per_view,
            "anchored": model.candidate.with_anchors,
            "lexical": model.candidate.lexical,
        },
        "parts": parts,
        "calibration": calibration,
    }


def check_run(run: Path) -> dict[str, Any]:
    """Check that a run is finished and as training wrote it; the description of its models.

    Raises:
        LeadlineError: unfinished run, damaged checkpoint, or a checkpoint of another format.
    """
    manifest = read_manifest(run, "run")
    check_files(run, manifest, (MODEL_FILE, LEDGER_FILE), remedy=REMEDY)
    description = _read_model_json(run / MODEL_FILE)
    members = checked_members(description, run / MODEL_FILE)
    ledger = read_table(run / LEDGER_FILE)
    check_ledger(ledger, members, int(description["train"]["folds"]), run / LEDGER_FILE)
    return description


def load_ensemble(
    run: Path | str,
    *,
    home: Path | None = None,
    use_cache: bool = True,
    tell_of_speed: bool = True,
) -> tuple[Ensemble, WindowConfig]:
    """The ensemble of a finished run, with its readers opened, and its window.

    Args:
        run: a finished run.
        home: where readers and cached states are kept.
        use_cache: keep the states of frozen readers on disk.
        tell_of_speed: warn where the run's arithmetic is slow on this machine.

    Raises:
        LeadlineError: unfinished run, damaged checkpoint, a checkpoint of another format, or a
            reader that is absent or of another revision than the one trained on.

    >>> from leadline import load_ensemble
    >>> ensemble, window = load_ensemble("run")
    >>> len(ensemble.members), window.days
    (3, 14.0)
    """
    run = Path(run)
    description = check_run(run)
    file = run / MODEL_FILE
    train, window = run_training(run)
    readers, entries = description.get("readers"), description["members"]
    if not isinstance(readers, dict):
        raise damaged(file)
    source = None
    if readers:
        source = open_source(train, home=home, use_cache=use_cache)
        if source.identities != readers:
            raise LeadlineError(
                "The readers here are not those that the run was trained with.",
                remedy="Fetch the same readers and versions, or train again.",
                file=file,
            )
        slow = train.dtype == "bfloat16" and source.contextual and _is_slow_here()
        if slow and tell_of_speed:
            warnings.warn(SLOW_HERE, stacklevel=2)
    if window.mask_questionnaire and description.get("detector") != DETECTOR:
        warnings.warn(MASKED_OTHERWISE, LeadlineWarning, stacklevel=2)
    load = _adapted_loader(home) if source is None else _load_frozen
    members = tuple(
        Member(entry["repeat"], entry["fold"], load(run / CHECKPOINT, entry)) for entry in entries
    )
    left_out = read_ledger(read_table(run / LEDGER_FILE))
    return Ensemble(members, left_out, source, train.pool), window


def _is_slow_here() -> bool:
    return default_arithmetic(default_device()) == "float32"


def load_step(run: Path, folder: str, ensemble: Ensemble, *, home: Path | None = None) -> Ensemble:
    """A step of self-training, with the readers and the ledger of the run's own `ensemble`.

    Args:
        run: a finished run.
        folder: of the step in it.
        ensemble: the run's own.
        home: where the readers of adapted models are kept.

    Raises:
        LeadlineError: its files are absent or damaged.
    """
    entries = step_members(run, folder)
    load = _adapted_loader(home) if ensemble.source is None else _load_frozen
    members = tuple(
        Member(entry["repeat"], entry["fold"], load(run / folder, entry)) for entry in entries
    )
    return replace(ensemble, members=members)


def run_training(run: Path) -> tuple[TrainConfig, WindowConfig]:
    """What a finished run was trained with, without opening its readers.

    Raises:
        LeadlineError: unfinished run, damaged checkpoint, or one of another format.
    """
    read_manifest(run, "run")
    file = run / MODEL_FILE
    description = _read_model_json(file)
    try:
        # What is absent was not there when the run was trained.
        before = {"dtype": BEFORE_IT_WAS_KEPT, "lexical": "off", "sentence_layers": OWN}
        fields = {**before, **description["train"]}
        layers = {name: tuple(fields[name]) for name in ("layers", "sentence_layers")}
        train = TrainConfig(**{**fields, **layers})
        return train, window_of(description["window"], file)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(file) from error


def checkpoint_members(run: Path) -> list[dict[str, Any]]:
    """The entries of the members in a run's checkpoint, in order.

    Raises:
        LeadlineError: damaged checkpoint, or one of another format.
    """
    return checked_members(_read_model_json(run / MODEL_FILE), run / MODEL_FILE)


def load_adapted(run: Path, entry: Mapping[str, Any], *, home: Path | None = None) -> AdaptedModel:
    """One fine-tuned member of a run, alone in memory.

    Raises:
        LeadlineError: its weights are absent or damaged, or the reader is another one.
    """
    model = _adapted_loader(home)(run / CHECKPOINT, entry)
    assert isinstance(model, AdaptedModel), "the settings say so"
    return model


def _check_hash(path: Path, expected: str) -> None:
    """Raise `LeadlineError` if a file is absent or not the one that training wrote."""
    if not path.is_file() or sha256(path) != expected:
        raise damaged(path)


def _check_adapted_hashes(checkpoint: Path, entry: Mapping[str, Any]) -> None:
    from leadline.finetune.model import SETTINGS, WEIGHTS

    _check_hash(checkpoint / WEIGHTS, entry["sha256"])
    if "settings_sha256" in entry:  # runs of before do not have it
        _check_hash(checkpoint / SETTINGS, entry["settings_sha256"])


def member_files(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of what a model's entry in the checkpoint stands for, below the checkpoint's folder."""
    name = entry["file"]
    if entry["kind"] == "frozen":
        return (f"{name}.safetensors",)
    files = ("model.safetensors", "config.json", "curve.json", MANIFEST)
    return tuple(f"{name}/{file}" for file in files)


def hashed_files(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of `member_files` whose hash the entry holds."""
    if entry["kind"] == "frozen":
        return member_files(entry)
    bound = ["model.safetensors"] + ["config.json"] * ("settings_sha256" in entry)
    return tuple(f"{entry['file']}/{file}" for file in bound)


def check_member(folder: Path, entry: Mapping[str, Any]) -> None:
    """Check the files of one model as far as can be told without its reader.

    Args:
        folder: of the checkpoint or step.
        entry: of the model, checked by `checked_members`.

    Raises:
        LeadlineError: a file is absent, not as it was written, or holds what training cannot write.
    """
    if entry["kind"] == "frozen":
        _load_frozen(folder, entry)
        return
    from leadline.finetune.model import check_checkpoint

    _check_adapted_hashes(folder / entry["file"], entry)
    check_checkpoint(folder / entry["file"])


def step_members(run: Path, folder: str) -> list[dict[str, Any]]:
    """The entries of the models of a step, as `checkpoint_members`."""
    name = f"{folder}/model.json"
    check_files(run, read_manifest(run, "run"), [name], remedy=REMEDY)
    return checked_members(_read_model_json(run / name), run / name)


def settled(train: TrainConfig, *, home: Path | None = None) -> TrainConfig:
    """The settings with what this machine has in the place of ``auto``: the run keeps it.

    The readers are SmolLM2, and beside it MPNet where it was fetched; of these the first alone
    where the reader is adapted.
    """
    reader = train.reader
    if reader == AUTO:
        reader = default_readers(home) if train.adapt == "frozen" else DEFAULT_READERS[0]
    return replace(train, reader=reader, dtype=resolve_arithmetic(train.dtype, default_device()))


def open_source(
    train: TrainConfig, *, home: Path | None = None, use_cache: bool = True
) -> StateSource:
    """The readers of a run's settings."""
    config = reader_config(train)
    lexical = train.lexical == "auto" and train.head == "distribution"
    return StateSource(train.reader, config, home=home, use_cache=use_cache, lexical=lexical)


def reader_config(train: TrainConfig) -> ReaderConfig:
    """How the language models of a run are read."""
    return ReaderConfig(
        layers=train.layer_numbers(),
        sentence_layers=train.sentence_layer_numbers(),
        state=train.state,
        max_tokens=train.max_tokens,
        dtype=train.dtype,
    )


def _read_model_json(path: Path) -> dict[str, Any]:
    return read_json(
        path,
        format=CHECKPOINT_FORMAT,
        remedy=REMEDY,
        what="checkpoint",
        problem=DAMAGED,
    )


def _adapted_loader(home: Path | None) -> Callable[[Path, Mapping[str, Any]], Model]:
    """What loads the adapted members of a run, on one base."""
    from leadline.finetune.members import SharedBase, StoredModel

    base = SharedBase(home)

    def load(folder: Path, entry: Mapping[str, Any]) -> Model:
        checkpoint = folder / entry["file"]
        _check_adapted_hashes(checkpoint, entry)
        base.load(checkpoint)  # a checkpoint that does not fit is refused here, not later
        calibration = Calibration.from_plain(entry["calibration"])
        keeps_form = bool(entry.get("keeps_form", False))
        if not keeps_form and not entry["scalar"]:
            warnings.warn(UNCALIBRATED, LeadlineWarning, stacklevel=2)
        stored = StoredModel(checkpoint, base)
        return AdaptedModel(stored, calibration, bool(entry["scalar"]), keeps_form)

    return load


def _load_frozen(folder: Path, entry: Mapping[str, Any]) -> Model:
    calibration = Calibration.from_plain(entry["calibration"])
    path = folder / f"{entry['file']}.safetensors"
    _check_hash(path, entry["sha256"])
    try:
        tensors = load_file(path)
        parts = tuple(
            (tuple(part["views"]), restore_head(part["settings"], _of_part(tensors, number)))
            for number, part in enumerate(entry["parts"])
        )
    except LeadlineError as error:
        raise LeadlineError(error.problem, remedy=error.remedy, file=path) from error
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise damaged(path) from error
    candidate_entry = entry["candidate"]
    candidate = Candidate(
        candidate_entry["head"],
        per_view=candidate_entry["apart"],
        with_anchors=candidate_entry.get("anchored", True),
        lexical=candidate_entry.get("lexical", 0.0),
    )
    return FrozenModel(candidate, parts, calibration)


def _of_part(tensors: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The arrays of one head of a model, by the names that the head gives them."""
    prefix = f"{number}."
    return {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
