"""Import of a long Parquet table: turns a second and peak memory.

Makes a table of made-up words (`--turns`, with a time and a conversation for each turn),
and imports it in a process of its own. With `--append` the figures become a line of
bench/results/import_speed.jsonl, of which the documents print the first.

    python -m bench run speed.importing --turns 10000000 --append
    python -m bench run speed.importing --turns 10000000 --append --shuffled

With `--against REVISION` the same table is also imported by the code of that revision, by turns.

    python -m bench run speed.importing --turns 10000000 --against 0cf13c8
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from bench.common import RESULTS, ROOT, run_facts, tell
from bench.protocol import run_module

TAKES = "2 GB of disk; a minute"
RESULT = None
PIECE = 500_000
TURNS_A_CONVERSATION = 20
CONVERSATIONS_A_PERSON = 25
CHILD = """
import json, resource, sys, time
from pathlib import Path
try:
    from leadline.cohort.store import read_cohort
    from leadline.importing.importing import import_files
    from leadline.sources.config import ImportConfig
except ModuleNotFoundError:  # where these lay in revisions of before
    from leadline.dialogue.settings import ImportConfig
    from leadline.dialogue.importing import import_files
    from leadline.dialogue.store import read_cohort
source, out, read_back = sys.argv[1:]
start, cpu = time.perf_counter(), time.process_time()
import_files(Path(source), ImportConfig(), Path(out))
if read_back == "True":
    read_cohort(Path(out))
print(json.dumps({
    "seconds": round(time.perf_counter() - start, 3),
    "processor_seconds": round(time.process_time() - cpu, 3),
    "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
}))
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


def import_once(code: Path, source: Path, out: Path, read_back: bool) -> dict[str, float]:
    """Import in a process of its own by the code in a folder; seconds and peak memory in GB."""
    child = [sys.executable, "-c", CHILD, str(source), str(out), str(read_back)]
    environment = {**os.environ, "PYTHONPATH": str(code / "src")}
    output = subprocess.run(child, check=True, capture_output=True, text=True, env=environment)
    shutil.rmtree(out)
    figures: dict[str, float] = json.loads(output.stdout)
    return figures


@contextmanager
def checkout(revision: str, folder: Path) -> Iterator[Path]:
    """The code of another revision in a folder, while it is needed."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run(
        [*git, "add", "--detach", str(folder), revision], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True, capture_output=True)


def paired(
    args: argparse.Namespace, source: Path, folder: Path
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Figures of this code and of the other, by turns, so that a busy machine slows both."""
    ours, theirs = [], []
    with checkout(args.against, folder / "other") as other:
        for number in range(args.pairs):
            order = [(ROOT, ours), (other, theirs)]
            for code, figures in order if number % 2 == 0 else order[::-1]:
                out = folder / "cohort"
                figures.append(import_once(code, source, out, args.read_back))
                tell(f"{'this code' if code == ROOT else args.against}: {figures[-1]}")
    return ours, theirs


def options(parser: argparse.ArgumentParser) -> None:
    """How large the table is, and how it lies."""
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--shuffled", action="store_true", help="rows of a person lie apart")
    parser.add_argument("--no-read-back", dest="read_back", action="store_false",
                        help="do not load the cohort")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--against", default="", help="a revision to compare with, by turns")
    parser.add_argument("--pairs", type=int, default=3, help="how often each is measured then")
    parser.add_argument("--append", action="store_true", help="add the line to the results")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make the table, import it in a child process."""
    others: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name).resolve()
        source = folder / "turns.parquet"
        size = make_table(source, args.turns, args.shuffled)
        if args.against:
            ours, theirs = paired(args, source, folder)
            child_figures = middle(ours)
            others = {"against": args.against, "pairs": args.pairs, "other": middle(theirs)}
        else:
            child_figures = import_once(ROOT, source, folder / "cohort", args.read_back)
    figures = {
        "polars": pl.__version__,
        "turns": args.turns,
        "text_gb": round(size / 1e9, 2),
        "shuffled": args.shuffled,
        "read_back": args.read_back,
        "turns_a_second": round(args.turns / child_figures["seconds"]),
        **child_figures,
        **others,
    }
    if args.append:
        with (RESULTS / "import_speed.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**run_facts(args.command), **figures}) + "\n")
    return figures


def middle(figures: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: round(median(entry[key] for entry in figures), 2) for key in figures[0]}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Turns a second and memory."""
    back = ", read back" if results["read_back"] else ""
    what = f"import of {results['turns']:,} turns from Parquet{back}"
    lines = [(what, f"{results['turns_a_second']:,} turns/s, {results['peak_gb']} GB peak")]
    if "other" in results:
        other = results["other"]
        lines.append(
            (f"{what}, against {results['against']} ({results['pairs']} pairs)",
             f"{results['seconds']} and {other['seconds']} s, {results['processor_seconds']} and "
             f"{other['processor_seconds']} s of processor, {results['peak_gb']} and "
             f"{other['peak_gb']} GB peak")
        )  # fmt: skip
    return lines


if __name__ == "__main__":
    run_module()
