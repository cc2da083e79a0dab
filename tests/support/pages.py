"""Paths into results.json as the documents write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PATH = re.compile(r"`((?:sets|selftraining|run)[\[.][^`]*)`")
STEP = re.compile(r"([^.\[\]]+)(?:\[(\w+)=([^\]]*)\])?(?:\.|$)")


def paths_of(page: Path) -> list[str]:
    """Every path that a page names, such as ``sets[split=locked].models.leadline.scores.mae``."""
    return PATH.findall(page.read_text(encoding="utf-8"))


def look_up(results: Any, path: str) -> Any:
    """What lies at a path; ``name[key=value]`` is the entry of a list whose key has that value.

    Raises:
        LookupError: there is nothing.
    """
    for name, key, wanted in STEP.findall(path):
        results = results[name]
        if key:
            results = next((x for x in results if str(x[key]) == wanted), None)
            if results is None:
                raise LookupError(path)
    return results
