"""Open a reader by its name."""

from __future__ import annotations

from pathlib import Path

import torch

from leadline.readers.config import ReaderConfig
from leadline.readers.fetch import reader_path
from leadline.readers.language import LMReader
from leadline.readers.sentence import SentenceReader


def open_reader(
    name: str,
    config: ReaderConfig | None = None,
    *,
    device: torch.device | None = None,
    home: Path | None = None,
) -> LMReader | SentenceReader:
    """The reader of a name: a `SentenceReader` for sentence encoders, else an `LMReader`."""
    path = reader_path(name, home=home)
    if (path / "modules.json").is_file():
        config = config or ReaderConfig()
        return SentenceReader(
            name, layers=config.sentence_layers, max_tokens=config.max_tokens, device=device,
            home=home,
        )  # fmt: skip
    return LMReader(name, config, device=device, home=home)
