"""Empty environments in which only Leadline's wheel and what one extra brings can be imported.

The distributions of an extra's closure are found as pip finds them, by the requirements in their
metadata, and linked from the environment of the tests: nothing is downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support import ROOT

Asked = tuple[str, frozenset[str]]


def build_wheel(folder: Path) -> Path:
    """The wheel of this source, by its own build backend where that is installed.

    Elsewhere the files that the build configuration names are packed as the backend packs them.
    """
    if find_spec("hatchling") is None:
        return _pack(folder)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("leadline-*.whl"))


def _pack(folder: Path) -> Path:
    project = _project()
    name = f"leadline-{project['version']}"
    files = {
        str(path.relative_to(ROOT / "src")): path.read_bytes()
        for path in sorted((ROOT / "src" / "leadline").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    metadata = [f"Metadata-Version: 2.4\nName: leadline\nVersion: {project['version']}"]
    metadata += [f"Requires-Dist: {line}" for line in project["dependencies"]]
    scripts = "\n".join(f"{name} = {call}" for name, call in project["scripts"].items())
    described = {
        "METADATA": "\n".join(metadata) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": f"[console_scripts]\n{scripts}\n",
    }
    files |= {f"{name}.dist-info/{file}": text.encode() for file, text in described.items()}
    record = [f"{file},sha256={_digest(content)},{len(content)}" for file, content in files.items()]
    files[f"{name}.dist-info/RECORD"] = "\n".join([*record, f"{name}.dist-info/RECORD,,"]).encode()
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def make_environment(folder: Path, wheel: Path, extras: Iterable[str]) -> Path:
    """An environment with a wheel and the closure of some extras; its Python.

    Skips the test where a distribution of the closure is not installed here.
    """
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", str(folder)], check=True)  # type: ignore[attr-defined]
    packages = next((folder / "lib").glob("python*/site-packages"))
    for found in closure(extras):
        link(found, packages)
    python = folder / "bin" / "python"
    command = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
               "--no-deps", "--no-index", "--no-compile", str(wheel))  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return python


def closure(extras: Iterable[str]) -> list[Distribution]:
    """What pip would install with some extras of Leadline, of what is installed here."""
    project = _project()
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    waiting = [_asked(Requirement(line)) for line in lines]
    seen: set[Asked] = set()
    found: dict[str, Distribution] = {}
    while waiting:
        asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        name, wanted = asked
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed here")
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if _applies(requirement, wanted):
                waiting.append(_asked(requirement))
    return list(found.values())


def _asked(requirement: Requirement) -> Asked:
    return canonicalize_name(requirement.name), frozenset(requirement.extras)


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def link(found: Distribution, packages: Path) -> None:
    """Make what a distribution installed importable from another folder of packages too."""
    tops = {_top(file) for file in found.files or ()}
    for file in found.files or ():
        if _top(file) is None or "__pycache__" in file.parts:
            continue
        alone = len(_owners()[file.parts[0]]) == 1
        part = PurePosixPath(file.parts[0]) if alone else PurePosixPath(file)
        target = packages / part
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(found.locate_file(part))
    assert tops - {None}, found.metadata["Name"]


def _top(file: PurePosixPath) -> str | None:
    """The name in the folder of packages below which a file lies; None of what lies elsewhere."""
    return None if file.is_absolute() or file.parts[0] == ".." else file.parts[0]


@cache
def _owners() -> dict[str, set[str]]:
    """Which distributions have files below each name in the folder of packages."""
    owners: dict[str, set[str]] = {}
    for found in distributions():
        for file in found.files or ():
            if _top(file) is not None:
                owners.setdefault(file.parts[0], set()).add(found.metadata["Name"])
    return owners
