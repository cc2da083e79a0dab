"""Which code this is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from leadline import about


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A package of two files whose code version is asked for."""
    folder = tmp_path / "leadline"
    folder.mkdir()
    shutil.copy(about.__file__, folder / "about.py")
    (folder / "words.toml").write_text("a = 1")
    monkeypatch.setattr(about, "__file__", str(folder / "about.py"))

    def version() -> str:
        about.code_version.cache_clear()
        return about.code_version()

    yield folder, version
    about.code_version.cache_clear()


def test_the_code_version_is_that_of_every_file(copied):
    folder, version = copied
    first = version()
    assert first.startswith(f"{about.__version__}+")
    assert version() == first
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "about.pyc").write_bytes(b"x")
    assert version() == first
    for change in (
        lambda: (folder / "words.toml").write_text("a = 2"),
        lambda: (folder / "more.py").touch(),
        lambda: (folder / "more.py").rename(folder / "less.py"),
        lambda: (folder / "about.py").write_text("# another"),
    ):
        before = version()
        change()
        assert version() != before


def test_a_copy_elsewhere_is_the_same_code(copied, tmp_path, monkeypatch):
    folder, version = copied
    before = version()
    shutil.copytree(folder, tmp_path / "elsewhere")
    monkeypatch.setattr(about, "__file__", str(tmp_path / "elsewhere" / "about.py"))
    assert version() == before


def test_it_is_cheap_enough_for_every_start():
    assert sum(file.stat().st_size for file in Path(about.__file__).parent.rglob("*.py")) < 5e6
