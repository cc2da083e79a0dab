"""`constraints.lock`: the hash of each file that pip takes for `constraints.txt`, and its audit.

    python dev/lock.py write   # asks the package index, for this Python and this machine
    python dev/lock.py check   # asks nobody: the lock, what is installed, and each installed file

The lock is of CPython 3.11 on Linux x86_64. It holds hashes alone, so that any mirror will do:

    pip install --require-hashes --no-deps -r constraints.lock

An index of advisories is not part of it: to look a version up in one, the network is needed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CONSTRAINTS = ROOT / "constraints.txt"

LOCK = ROOT / "constraints.lock"

ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$")


def canonical(name: str) -> str:
    """A name as package indexes compare it.

    >>> canonical("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def constrained() -> dict[str, str]:
    """Name -> version of `constraints.txt`."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line.strip() and not line.startswith("#"))
    return {canonical(name.strip()): version.strip() for name, version in pairs}


def locked(text: str) -> dict[str, str]:
    """Name -> version of a lock.

    Raises:
        ValueError: a line is no version with one hash.
    """
    versions = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = ENTRY.match(line)
        if match is None:
            raise ValueError(f"This line of the lock has no version with its hash: {line}")
        versions[canonical(match[1])] = match[2]
    return versions


def write() -> None:
    """Ask pip which file it takes for each version, and write down what it hashes to."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--no-deps", "--only-binary=:all:"]
        command += ["--report", str(report), "-r", str(CONSTRAINTS)]
        subprocess.run(command, check=True)
        entries = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = []
    for entry in entries:
        meta, hashes = entry["metadata"], entry["download_info"]["archive_info"]["hashes"]
        name = canonical(meta["name"])
        lines.append(f"{name}=={meta['version']} --hash=sha256:{hashes['sha256']}")
    head = "# Made by python dev/lock.py write (CPython 3.11, Linux x86_64); do not edit.\n"
    LOCK.write_text(head + "\n".join(sorted(lines)) + "\n", encoding="utf-8")


def changed_files(package: Distribution) -> Iterator[str]:
    """Files of an installed package that are not what its record says."""
    for file in package.files or ():
        if file.hash is None or file.hash.mode != "sha256":
            continue
        path = Path(str(file.locate()))
        if not path.is_file():
            yield f"{file} is gone"
            continue
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            yield f"{file} is not what was installed"


def problems(versions: dict[str, str], packages: Iterable[Distribution]) -> list[str]:
    """What is wrong with a lock and with what is installed of it."""
    wanted = constrained()
    found = [f"{name} is not locked" for name in sorted(set(wanted) - set(versions))]
    found += [
        f"{name} is locked and not constrained" for name in sorted(set(versions) - set(wanted))
    ]
    found += [
        f"{name} is locked at {versions[name]}, constrained to {wanted[name]}"
        for name in sorted(set(wanted) & set(versions))
        if versions[name] != wanted[name]
    ]
    for package in packages:
        name = canonical(package.metadata["Name"])
        if name not in versions:
            continue
        if package.version.partition("+")[0] != versions[name]:
            found.append(f"{name} {package.version} is installed, {versions[name]} is locked")
        found += [f"{name}: {what}" for what in changed_files(package)]
    return found  # fmt: skip


def check() -> int:
    """Print what is wrong; the number of problems is the exit code, up to 100."""
    found = problems(locked(LOCK.read_text(encoding="utf-8")), distributions())
    print("\n".join(found) or "Lock, constraints and installed files agree.")
    return min(len(found), 100)


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:] == ["check"]:
        sys.exit(check())
    else:
        sys.exit(__doc__)
