"""Import of a long Parquet table: turns a second and peak memory.

Makes a table of made-up words (`--turns`, with a time and a conversation for each turn),
imports it in a process of its own, and prints one JSON line with date and machine.

    python bench/import_speed.py --turns 10000000
    python bench/import_speed.py --turns 10000000 --shuffled
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

PIECE = 500_000
TURNS_A_CONVERSATION = 20
CONVERSATIONS_A_PERSON = 25


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
    from leadline.importing.config import ImportConfig
    from leadline.importing.importing import import_cohort, import_files

    start = time.perf_counter()
    run = import_cohort if read_back else import_files
    run(source, ImportConfig(), out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": round(seconds, 1), "peak_gb": round(peak, 2)}


def main() -> None:
    """Make the table, import it in a child process, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--shuffled", action="store_true", help="rows of a person lie apart")
    parser.add_argument("--no-read-back", action="store_true", help="do not load the cohort")
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(import_once(*options.child, not options.no_read_back)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder) / "turns.parquet"
        size = make_table(source, options.turns, options.shuffled)
        child = [sys.executable, __file__, "--child", str(source), str(Path(folder) / "cohort")]
        child += ["--no-read-back"] * options.no_read_back
        done = subprocess.run(child, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    print(
        json.dumps(
            {
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "python": platform.python_version(),
                "polars": pl.__version__,
                "turns": options.turns,
                "text_gb": round(size / 1e9, 2),
                "shuffled": options.shuffled,
                "read_back": not options.no_read_back,
                "turns_a_second": round(options.turns / figures["seconds"]),
                **figures,
            }
        )
    )


if __name__ == "__main__":
    main()
