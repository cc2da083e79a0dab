"""Which version this is, and what is said beside every estimate."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

NOTICE = (
    "An estimate from conversation, not a PHQ-9 response, not a diagnosis, not a crisis service."
)
NO_LABEL = (
    "No label seen: the scale is assumed, not measured; ranks may be of use, points are a guess."
)
SIMULATED_NOTICE = (
    "Made from simulated people: it tests the software and says nothing about clinical validity."
)


@cache
def code_version() -> str:
    """Which code this is, such as ``0.1.0+1f2e3d4c5b6a``: the version, and a hash of the package.

    Whoever edits the code of a checkout, or installs another commit of the same version, has
    another code version. Unfinished work that another one began is not gone on with: its first
    half would be of other code than its second. Every file of the package counts, templates and
    word lists too, so an edited comment counts as well; that costs a second start, a missed change
    would cost numbers.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(package).as_posix()
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name}\x1f{content}\n".encode())
    return f"{__version__}+{digest.hexdigest()[:12]}"
