"""Speed of the sentence reader on one core: torch's own linear layers and oneDNN's, by batch size.

    python -m bench run speed.sentence_reader [--texts 400]

Reads simulated turns with MiniLM. Tokens a second are of processor time, so that what else runs
on the machine counts little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from bench.protocol import run_module
from leadline.readers.batching import batches
from leadline.readers.sentence import OneDnnLinear, SentenceReader
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import PRESETS, SimulateConfig

TAKES = "reader minilm; minutes"
RESULT = "sentence_speed"
SIZES = (256, 512, 1024, 4096)


def simulated_texts(count: int) -> list[str]:
    """Distinct user turns of a simulated cohort."""
    sizes = {"people": 400, "gold": 44, "locked": 10, "user_turns": 9.0}
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate_cohort(Path(folder) / "c", SimulateConfig(**{**PRESETS["easy"], **sizes}))
    spoken = cohort.turns.filter(pl.col("role") == "user")["text"]
    return spoken.unique(maintain_order=True).to_list()[:count]


def measure_batches(
    reader: SentenceReader, texts: list[str], size: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Tokens a second of processor time, share of padding, and the states."""
    jobs = [job for row, text in enumerate(texts) for job in reader._jobs(row, text)]
    parts = list(batches(jobs, size))
    reader._read(parts[0])
    start = time.process_time()
    states = np.concatenate([reader._read(part) for part in parts])
    seconds = time.process_time() - start
    tokens = sum(len(job.ids) for job in jobs)
    padded = sum(len(part) * len(part[0].ids) for part in parts)
    order = np.argsort([job.conversation for part in parts for job in part], kind="stable")
    return {
        "tokens_per_cpu_second": round(tokens / seconds),
        "padding": round(padded / tokens - 1, 3),
    }, states[order]


def options(parser: argparse.ArgumentParser) -> None:
    """How many texts."""
    parser.add_argument("--texts", type=int, default=400)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure both kinds of linear layer at every batch size."""
    texts = simulated_texts(args.texts)
    torch.set_num_threads(1)
    reader = SentenceReader("minilm", device=torch.device("cpu"))
    start = time.process_time()
    for row, text in enumerate(texts):
        reader._jobs(row, text)
    microseconds = (time.process_time() - start) / len(texts) * 1e6
    figures: dict[str, Any] = {
        "texts": len(texts), "tokenizer_microseconds_a_text": round(microseconds)
    }  # fmt: skip
    states = {}
    layers = [m for m in reader.model.modules() if isinstance(m, torch.nn.Linear)]
    for name, kind in (("onednn", OneDnnLinear), ("torch", torch.nn.Linear)):
        for layer in layers:
            layer.__class__ = kind
        for size in SIZES:
            figures[f"{name}_{size}"], states[name, size] = measure_batches(reader, texts, size)
    reference = states["torch", 4096]
    figures["largest_difference"] = float(max(np.abs(x - reference).max() for x in states.values()))
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """MiniLM by kernel."""
    ours, torch_s = (
        results[f"{kind}_512"]["tokens_per_cpu_second"] for kind in ("onednn", "torch")
    )
    figure = f"{ours:,} tokens a processor second; as torch does it {torch_s:,}"
    return [("MiniLM on one core", figure)]


if __name__ == "__main__":
    run_module()
