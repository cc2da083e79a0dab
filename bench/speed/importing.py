"""Import of a long Parquet table: turns a second and peak memory.

Makes a table of made-up words (`--turns`, with a time and a conversation for each turn),
and imports it in a process of its own. With `--append` the figures become a line of
bench/results/import_speed.jsonl, of which the documents print the first.

    python -m bench run speed.importing --turns 10000000 --append
    python -m bench run speed.importing --turns 10000000 --append --shuffled
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from bench.common import RESULTS, ROOT, run_facts
from bench.protocol import run_module

TAKES = "2 GB of disk; a minute"
RESULT = None
PIECE = 500_000
TURNS_A_CONVERSATION = 20
CONVERSATIONS_A_PERSON = 25
CHILD = """
import json, sys
from pathlib import Path
from bench.speed.importing import import_once
source, out, read_back = sys.argv[1:]
print(json.dumps(import_once(Path(source), Path(out), read_back == "True")))
"""


def make_table(path: Path, turns: int, shuffled: bool) -> int:
    """Write the table, piece by piece; return its bytes of text."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{number:04}" for number in range(3000)])
    sentences = pl.Series([" ".join(rng.choice(words, rng.integers(5, 40))) for _ in range(50_000)])
    size = 0
    writer = None
    for start in range(0, turns, PIECE):
        index = np.arange(start, min(start + PIECE, turns))
        if shuffled:  # a fixed permutation without holding it: multiply by an odd prime
            index = (index * 15_485_863) % turns
        conversation = index // TURNS_A_CONVERSATION
        text = sentences[rng.integers(0, len(sentences), len(index))]
        size += int(text.str.len_bytes().sum())
        roles = pl.Series(["user", "assistant"])
        frame = pl.DataFrame(
            {
                "person_id": pl.Series(conversation // CONVERSATIONS_A_PERSON).cast(pl.String)
                .str.zfill(12),
                "conversation_id": pl.Series(conversation).cast(pl.String).str.zfill(16),
                "role": roles[index % 2],
                "text": text,
                "time": pl.Series(1_600_000_000_000_000 + index * 7_000_000)
                .cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            }
        )  # fmt: skip
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return size


def import_once(source: Path, out: Path, read_back: bool) -> dict[str, float]:
    """Import in this process; seconds and peak resident memory in GB."""
    from leadline.cohort.store import read_cohort
    from leadline.importing.importing import import_files
    from leadline.sources.config import ImportConfig

    start = time.perf_counter()
    import_files(source, ImportConfig(), out)
    if read_back:
        read_cohort(out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": round(seconds, 1), "peak_gb": round(peak, 2)}


def options(parser: argparse.ArgumentParser) -> None:
    """How large the table is, and how it lies."""
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--shuffled", action="store_true", help="rows of a person lie apart")
    parser.add_argument("--no-read-back", dest="read_back", action="store_false",
                        help="do not load the cohort")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--append", action="store_true", help="add the line to the results")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make the table, import it in a child process."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source, out = Path(folder).resolve() / "turns.parquet", Path(folder).resolve() / "cohort"
        size = make_table(source, args.turns, args.shuffled)
        child = [sys.executable, "-c", CHILD, str(source), str(out), str(args.read_back)]
        output = subprocess.run(child, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    child_figures = json.loads(output)
    figures = {
        "polars": pl.__version__,
        "turns": args.turns,
        "text_gb": round(size / 1e9, 2),
        "shuffled": args.shuffled,
        "read_back": args.read_back,
        "turns_a_second": round(args.turns / child_figures["seconds"]),
        **child_figures,
    }
    if args.append:
        with (RESULTS / "import_speed.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**run_facts(args.command), **figures}) + "\n")
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Turns a second and memory."""
    back = ", read back" if results["read_back"] else ""
    return [
        (f"import of {results['turns']:,} turns from Parquet{back}",
         f"{results['turns_a_second']:,} turns/s, {results['peak_gb']} GB peak")
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
