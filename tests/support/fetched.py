"""Readers that are fetched: for tests that go on without them, and such as stand in for one."""

import shutil
from pathlib import Path

import pytest

from leadline.artefact import sha256, write_manifest
from leadline.readers.fetch import leadline_home


def fetched(name):
    path = leadline_home() / "readers" / name
    if not (path / "manifest.json").is_file():
        pytest.skip(f"the reader {name} is not fetched: leadline reader fetch {name}")
    return path


def keep_reader(home: Path, reader: Path, name: str) -> None:
    """Have `reader` lie in a home of Leadline as if it had been fetched under this name."""
    place = shutil.copytree(reader, home / "readers" / name)
    files = {path.name: sha256(path) for path in place.iterdir()}
    write_manifest(
        place, kind="reader", command="reader fetch", settings={"name": name}, inputs={},
        revision="0" * 64, files=files,
    )  # fmt: skip
