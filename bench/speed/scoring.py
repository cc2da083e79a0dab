"""Scoring many people: the Ray engine against the local one, and what the state cache costs.

    python -m bench run speed.scoring [--people 2000]
    python -m bench run speed.scoring --stand-in --people 100000 --engines local,ray-2x1

Simulated people of about eight turns each are scored by a run that was trained on others
(ridge). With MiniLM nearly all the time is the encoder's. With --stand-in a tiny encoder with
random weights takes its place, so that time and memory are those of everything else at a size
that MiniLM would need an hour for. Each engine is a process of its own; seconds hold its start.
Memory is the sum of the proportional set sizes of the process and all its descendants, sampled.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tests.support.cohorts import tiny_sentence_reader

from bench.common import save, tell
from bench.protocol import run_module
from leadline.artefact import MANIFEST
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.readers.fetch import leadline_home
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import PRESETS, SimulateConfig

TAKES = "reader minilm but with --stand-in, and Ray but with --engines local; minutes"
ENGINES = {
    "local": ["--no-cache"],
    "ray-2x1": ["--no-cache", "--engine", "ray", "--workers", "2", "--worker-cpus", "1"],
    "ray-1x2": ["--no-cache", "--engine", "ray", "--workers", "1", "--worker-cpus", "2"],
    "local-filling-cache": ["--cache"],
    "local-from-cache": ["--cache"],
}


def simulated(folder: Path, people: int, seed: int) -> Path:
    """A cohort of `people` with about eight turns each, 300 of them with a PHQ-9."""
    changes = {"people": people, "gold": 300, "locked": 50, "user_turns": 8.0, "seed": seed}
    simulate_cohort(folder, SimulateConfig(**{**PRESETS["paper"], **changes}))
    return folder


def trained_run(folder: Path, reader: str) -> Path:
    """A run of ridge heads on 400 other people."""
    cohort = read_cohort(simulated(folder / "training", 400, 1))
    if reader == "stand-in":
        reader = str(tiny_sentence_reader(folder / "encoder", cohort.turns["text"].to_list()))
    config = TrainConfig(reader=reader, fit="ridge", baselines=False)
    train_run(cohort, folder / "run", config, WindowConfig())
    return folder / "run"


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    members = [pid]
    for member in members:
        members += parents.get(member, [])
    return members


def usage(pid: int) -> tuple[float, float]:
    """Seconds of processor time so far, and proportional set size in MB, of one process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0, 0.0
    pss = next((line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")), "0")
    ticks = int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(pss) / 1024


def watched(command: list[str], env: dict[str, str]) -> dict[str, float]:
    """Run a command; its wall time, its processor time and its peak of memory."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    cpu: dict[int, float] = {}
    peak = 0.0
    while process.poll() is None:
        usages = {pid: usage(pid) for pid in family(process.pid)}
        cpu |= {pid: max(used, cpu.get(pid, 0.0)) for pid, (used, _) in usages.items()}
        peak = max(peak, sum(megabytes for _, megabytes in usages.values()))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{command} failed")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(sum(cpu.values()), 1),
        "peak_mb": round(peak),
    }


def compare(estimates: Path, local: Path) -> dict[str, Any]:
    """Whether two files of estimates are the same, and by how much a probability differs."""
    tables = [pl.read_parquet(path) for path in (estimates, local)]
    keys = ["person_id", "conversation_id", "turn"]
    assert tables[0].select(keys).equals(tables[1].select(keys))
    flat = [table["distribution"].explode().to_numpy() for table in tables]
    return {
        "bytes_as_local": estimates.read_bytes() == local.read_bytes(),
        "largest_difference": float(np.abs(flat[0] - flat[1]).max()),
    }


def prepared(folder: Path, people: int, stand_in: bool) -> tuple[Path, Path, dict[str, str]]:
    """Cohort, run and environment in `folder`; what is there already is used."""
    folder.mkdir(parents=True, exist_ok=True)
    run, cohort, home = folder / "run", folder / f"cohort-{people}", folder / "home"
    if not (run / MANIFEST).is_file():
        trained_run(folder, "stand-in" if stand_in else "minilm")
    if not (cohort / MANIFEST).is_file():
        simulated(cohort, people, 2)
    if not home.is_dir():
        home.mkdir()
        (home / "readers").symlink_to(leadline_home() / "readers")
    return cohort, run, {**os.environ, "LEADLINE_HOME": str(home)}


def measure_engines(
    args: argparse.Namespace, work: tuple[Path, Path, dict[str, str]]
) -> dict[str, Any]:
    """Score with one engine after the other; results are saved after each."""
    cohort, run, env = work
    results: dict[str, Any] = {"people": args.people, "load_before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        for engine in args.engines.split(","):
            out = Path(folder) / f"{engine}.parquet"
            code = "from leadline.cli.app import main; main()"
            command = [sys.executable, "-c", code, "score", str(cohort), "--run", str(run)]
            figures = watched([*command, "--out", str(out), *ENGINES[engine]], env)
            figures["people_a_second"] = round(args.people / figures["seconds"], 1)
            if engine == "local":
                results["estimates"] = pl.scan_parquet(out).select(pl.len()).collect().item()
            else:
                figures |= compare(out, Path(folder) / "local.parquet")
            results[engine] = figures
            tell(engine, figures)
            states = Path(env["LEADLINE_HOME"]).glob("states/*")
            results["cache_mb"] = round(sum(path.stat().st_size for path in states) / 2**20, 1)
            save(result(args), results, args.command)
    return results


def options(parser: argparse.ArgumentParser) -> None:
    """How many people, with which engines, the local one first."""
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--work", type=Path, help="Keep the cohort and the run here.")


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return f"score_ray_stand_in_{args.people}" if args.stand_in else "score_ray"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Score the same people with each engine."""
    with tempfile.TemporaryDirectory() as scratch:
        work = prepared(args.work or Path(scratch), args.people, args.stand_in)
        return measure_engines(args, work)


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Time and memory by engine."""
    reader = "a tiny stand-in encoder" if "--stand-in" in results["command"] else "MiniLM"
    return [
        (f"scoring {results['people']:,} people with {reader}, {name}",
         f"{results[name]['seconds']:.0f} s, {results[name]['cpu_seconds']:.0f} processor s, "
         f"{results[name]['peak_mb']:,} MB")
        for name in ("local", "ray-2x1", "ray-1x2") if name in results
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
