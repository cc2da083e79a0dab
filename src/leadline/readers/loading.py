"""Load a model directory, whatever lies in it: one message in place of a library's failure.

A directory that somebody hands on may hold any bytes. Code in it is never run, an adapter that
leads to another model is not followed, and what its settings would unfold to is bounded first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError

NO_CODE: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Arguments of each ``from_pretrained``: nothing is asked for, and no code of a model is run."""

LAYERS = re.compile(r"n_layers?|(num|n)_([a-z_]+_)?layers?|depth")

MOST_LAYERS = 10_000

REMEDY = (
    "Fetch the reader again, or give a directory in the Hugging Face layout that holds a whole "
    "model of an architecture that the installed transformers knows."
)


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Load from a model directory in this block.

    Raises:
        LeadlineError: what lies there cannot be loaded; nothing of it is quoted.
    """
    _check_settings(path)
    try:
        yield
    except (LeadlineError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise LeadlineError(
            f"The model in this directory cannot be loaded ({type(error).__name__}).",
            remedy=REMEDY,
            file=path,
        ) from error


def _check_settings(path: Path) -> None:
    if (path / "adapter_config.json").exists():
        raise LeadlineError(
            "This directory holds an adapter, which leads to a model elsewhere.",
            remedy="Merge the adapter into its model, and give the directory of that.",
            file=path,
        )
    file = path / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LeadlineError("This is no settings of a model.", remedy=REMEDY, file=file) from error
    if not isinstance(settings, dict) or not all(map(_is_bounded, (settings, *settings.values()))):
        raise LeadlineError("These settings are of no model.", remedy=REMEDY, file=file)


def _is_bounded(settings: Any) -> bool:
    """Whether a table of settings asks for as many layers as a model may have."""
    if not isinstance(settings, dict):
        return True
    counts = [value for name, value in settings.items() if LAYERS.fullmatch(str(name))]
    return all(not isinstance(x, (int, float)) or x <= MOST_LAYERS for x in counts)
