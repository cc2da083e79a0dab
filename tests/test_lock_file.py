"""The lock of dependencies is of what is constrained, and its audit notices a changed file."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from importlib.metadata import PathDistribution
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import ROOT


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "dev" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_constrained_package_is_locked_with_its_hash(lock: ModuleType) -> None:
    text = lock.LOCK.read_text(encoding="utf-8")
    assert lock.problems(lock.locked(text), []) == []
    assert "://" not in text, "any mirror will do; the address of one has no place in it"


def test_a_lock_that_is_old_or_malformed_is_noticed(lock: ModuleType) -> None:
    versions = lock.locked(lock.LOCK.read_text(encoding="utf-8"))
    old = {**versions, "numpy": "1.0", "leftover": "1.0"}
    del old["polars"]
    found = lock.problems(old, [])
    assert [problem.split()[0] for problem in found] == ["polars", "leftover", "numpy"]
    for line in ("numpy==2.0", "numpy", "numpy==2.0 --hash=sha256:12", "numpy>=2"):
        with pytest.raises(ValueError, match="no version with its hash"):
            lock.locked(line)


def installed(folder: Path, content: bytes, recorded: bytes) -> PathDistribution:
    """A package of one file, and of a record of it."""
    about = folder / "numpy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded).digest()).rstrip(b"=").decode()
    (about / "RECORD").write_text(f"numpy.py,sha256={digest},{len(recorded)}\n")
    (folder / "numpy.py").write_bytes(content)
    return PathDistribution(about)


def test_a_file_that_was_changed_after_its_installation_is_noticed(
    lock: ModuleType, tmp_path: Path
) -> None:
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    right = installed(tmp_path / "right", b"x = 1\n", b"x = 1\n")
    assert list(lock.changed_files(right)) == []
    wrong = installed(tmp_path / "wrong", b"x = 2\n", b"x = 1\n")
    assert list(lock.changed_files(wrong)) == ["numpy.py is not what was installed"]
    versions = {**lock.constrained()}
    found = lock.problems(versions, [wrong])
    assert len(found) == 2
    assert "1.0 is installed" in found[0]
    (tmp_path / "right" / "numpy.py").unlink()
    assert list(lock.changed_files(right)) == ["numpy.py is gone"]
