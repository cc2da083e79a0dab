"""Reading on against reading again: differences, seconds, bytes; and what the budget changes.

Text is drawn at random from fixed words, so nothing here needs data. `--parts` chooses what is
measured; the rest of an earlier result is kept.

    OMP_NUM_THREADS=2 python -m bench run speed.running [--parts message] [--readers smollm2]
    OMP_NUM_THREADS=1 python -m bench run speed.running --parts batch equal process budget
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.support.readers import WORDS, tiny_reader

from bench.common import RESULTS, ROOT, save, tell
from bench.protocol import run_module
from leadline.cohort.timeline import Message
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.running.reader import Context, NewMessages, RunningReader
from leadline.running.state_store import ReadingState, new_reading, save_reading

TAKES = "reader smollm2; half an hour"
RESULT = "incremental"
PARTS = ("message", "batch", "equal", "process", "budget")
CPU = torch.device("cpu")
READERS = ("smollm2", "smollm2, last layer", "tiny qwen3.5")
DTYPES = ("float32", "bfloat16")


def spoken(random: np.random.Generator, words: int, role: str = "user") -> Message:
    """A message of so many words."""
    return Message(role, " ".join(random.choice(WORDS.split(), words)))


def conversation(random: np.random.Generator, messages: int, words: int) -> list[Message]:
    """Messages that take turns, of about so many words each."""
    roles = ("assistant", "user")
    counts = random.integers(1, 2 * words, messages)
    return [spoken(random, int(n), roles[at % 2]) for at, n in enumerate(counts)]


def open_reader(name: str, dtype: str, **settings: Any) -> LMReader:
    """SmolLM2 at the layers of the default recipe, or another at its middle and last layer.

    With `:last` after its name a reader is read at its last, normed layer alone.
    """
    layers = (0.53, 0.67, 0.73, 0.8, 0.87) if name == "smollm2" else (0.5, 1.0)
    if name.endswith(":last"):
        name, layers = name.removesuffix(":last"), (1.0,)
    return LMReader(name, ReaderConfig(layers=layers, dtype=dtype, **settings), device=CPU)


def on(running: RunningReader, messages: list[Message], cuts: list[int]) -> np.ndarray:
    """Turn states of messages that arrive in chunks."""
    context, states, edges = Context(), [], [0, *cuts, len(messages)]
    for start, stop in pairwise(edges):
        earlier = lambda count, start=start: messages[start - count : start]  # noqa: E731
        (read,) = running.read([NewMessages(context, messages[start:stop], earlier)])
        context = read.context
        states.append(read.states)
    return np.concatenate(states)


def difference(states: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Largest absolute difference, and relative to the length of the state."""
    relative = np.linalg.norm(states - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return {
        "largest": float(np.abs(states - expected).max()),
        "largest_relative": float(relative.max()),
        "largest_value": float(np.abs(expected).max()),
        "states": len(states),
    }


def equal(names: dict[str, str], draws: int) -> dict[str, Any]:
    """Every turn state, in random chunks against one pass."""
    out: dict[str, Any] = {}
    for kind, name in names.items():
        for dtype in DTYPES:
            reader, random = open_reader(name, dtype), np.random.default_rng(0)
            chunked, expected = [], []
            for _ in range(draws):
                messages = conversation(random, 16, 12)
                cuts = sorted(random.choice(np.arange(1, 16), random.integers(1, 9), False))
                chunked.append(on(RunningReader(reader), messages, [int(c) for c in cuts]))
                expected.append(reader.states([messages])[0])
            out[f"{kind} {dtype}"] = difference(np.concatenate(chunked), np.concatenate(expected))
    return out


CONTINUE = """
import sys
from pathlib import Path
import numpy as np
from bench.speed import running as bench
from leadline.running.state_store import load_reading
name, folder = sys.argv[1], Path(sys.argv[2])
for dtype in bench.DTYPES:
    reader = bench.open_reader(name, dtype)
    course = load_reading(folder / f"{dtype}.safetensors", reader.identity, [bench.CPU])
    np.save(folder / f"{dtype}.npy", bench.go_on(reader, course.contexts[0]))
"""


def go_on(reader: LMReader, context: Context) -> np.ndarray:
    """States of the rest of a conversation."""
    rest = conversation(np.random.default_rng(1), 5, 12)
    (read,) = RunningReader(reader).read([NewMessages(context, rest)])
    return read.states


def process(names: dict[str, str], folder: Path) -> dict[str, Any]:
    """Saved, loaded in a new process and continued, against never saved."""
    out: dict[str, Any] = {}
    for kind, name in names.items():
        expected = {}
        for dtype in DTYPES:
            reader = open_reader(name, dtype)
            begun = conversation(np.random.default_rng(0), 10, 12)
            (read,) = RunningReader(reader).read([NewMessages(Context(), begun)])
            blank = new_reading([reader.width])
            course = ReadingState((read.context,), blank.states, blank.sizes)
            size = save_reading(folder / f"{dtype}.safetensors", course, reader.identity)
            expected[dtype] = go_on(reader, read.context)
            assert read.context.memory is not None
            out[f"{kind} {dtype}"] = {
                "file_bytes": size,
                "tokens": read.context.memory.tokens,
                "bytes_per_token": round(per_token(read.context)),
                "bytes_fixed": fixed(read.context),
            }
        command = [sys.executable, "-c", CONTINUE, name, str(folder)]
        subprocess.run(command, check=True, cwd=ROOT)
        for dtype, states in expected.items():
            continued = np.load(folder / f"{dtype}.npy")
            out[f"{kind} {dtype}"]["identical"] = bool(np.array_equal(continued, states))
    return out


def per_token(context: Context) -> float:
    """Bytes of keys and values a token."""
    assert context.memory is not None
    tensors = context.memory.tensors().items()
    grows = sum(x.nbytes for name, x in tensors if name.endswith(("keys", "values")))
    return grows / context.memory.tokens


def fixed(context: Context) -> int:
    """Bytes of the states that do not grow."""
    assert context.memory is not None
    tensors = context.memory.tensors().items()
    return sum(x.nbytes for name, x in tensors if name.endswith(("conv", "state")))


def best(
    what: Callable[[], Any], times: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of the fastest of some calls; the machine may be shared."""
    seconds = []
    for _ in range(times):
        start = clock()
        what()
        seconds.append(clock() - start)
    return min(seconds)


def sized(reader: LMReader, random: np.random.Generator, tokens: int) -> Message:
    """A user message of exactly so many tokens, its marks included."""
    message = spoken(random, tokens)
    while len(reader.tokens.pieces([message], 8192)[0].ids) > tokens:
        message = Message("user", message.text.rsplit(" ", 1)[0])
    return message


def message() -> dict[str, Any]:
    """One new message of 40 tokens after 2,000, against reading all again."""
    out: dict[str, Any] = {}
    for dtype in DTYPES:
        reader, random = open_reader("smollm2", dtype), np.random.default_rng(0)
        running = RunningReader(reader)
        history = [sized(reader, random, 40) for _ in range(50)]
        new = sized(reader, random, 40)
        (read,) = running.read([NewMessages(Context(), history)])
        again = best(partial(reader.states, [[*history, new]]), 2)
        on_seconds = best(partial(running.read, [NewMessages(read.context, [new])]), 12)
        assert read.context.memory is not None
        out[dtype] = {
            "history_tokens": read.context.memory.tokens,
            "read_again_seconds": round(again, 3),
            "read_on_seconds": round(on_seconds, 4),
            "times_faster": round(again / on_seconds, 1),
            "threads": torch.get_num_threads(),
        }
    return out


def batch(names: dict[str, str], count: int = 32) -> dict[str, Any]:
    """Many people with unequal histories, each one new message, against one by one.

    Processor seconds, so that other work on the machine does not count; run it on one thread.
    Four people each share a history, which saves reading it.
    """
    out: dict[str, Any] = {}
    for kind, name in names.items():
        for dtype in DTYPES:
            reader, random = open_reader(name, dtype), np.random.default_rng(0)
            running = RunningReader(reader)
            small = kind != "smollm2"
            histories = [
                [sized(reader, random, 50) for _ in range(int(n))]
                for n in random.integers(2, 8 if small else 13, count // 4)
            ]
            lengths = random.integers(10, 41 if small else 61, count)
            begun = running.read([NewMessages(Context(), history) for history in histories])
            news = [
                NewMessages(begun[row % len(begun)].context, [sized(reader, random, int(n))])
                for row, n in enumerate(lengths)
            ]
            together = np.concatenate([read.states for read in running.read(news)])
            alone = np.concatenate([running.read([new])[0].states for new in news])
            each = partial(_each, running, news)
            single = best(each, 2, time.process_time)
            together_seconds = best(partial(running.read, news), 2, time.process_time)
            out[f"{kind} {dtype}"] = {
                "difference": difference(together, alone),
                "one_by_one_cpu_seconds": round(single, 3),
                "together_cpu_seconds": round(together_seconds, 3),
                "times_less": round(single / together_seconds, 2),
                "threads": torch.get_num_threads(),
            }
    return out


def _each(running: RunningReader, news: list[NewMessages]) -> None:
    for new in news:
        running.read([new])


def budget() -> dict[str, Any]:
    """What a smaller context does to the states and to the tokens read, SmolLM2."""
    random = np.random.default_rng(0)
    talks = [conversation(random, 90, 16)]
    unbounded = open_reader("smollm2", "bfloat16")
    expected = np.concatenate(unbounded.states(talks))
    out: dict[str, Any] = {}
    for tokens in (1024, 512, 256):
        reader = open_reader("smollm2", "bfloat16", max_tokens=tokens)
        read = [sum(len(job.ids) for job in reader._jobs(0, talk)) for talk in talks]
        spoken_tokens = [sum(len(p.ids) for p in reader.tokens.pieces(t, tokens)) for t in talks]
        states = np.concatenate(reader.states(talks))
        cosine = (states * expected).sum(1) / (
            np.linalg.norm(states, axis=1) * np.linalg.norm(expected, axis=1)
        )
        passes = [sum(1 for _ in reader._jobs(0, talk)) for talk in talks]
        out[str(tokens)] = {
            "conversation_tokens": int(np.mean(spoken_tokens)),
            "passes": float(np.mean(passes)),
            "tokens_read_per_token": round(sum(read) / sum(spoken_tokens), 2),
            "cosine_mean": round(float(cosine.mean()), 4),
            "cosine_least": round(float(cosine.min()), 4),
        }
    return out


def options(parser: argparse.ArgumentParser) -> None:
    """What is measured, and of which readers."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=READERS)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the parts that are asked for; what an earlier call measured stays."""
    file = RESULTS / f"{RESULT}.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    results = {name: results[name] for name in (*PARTS, "commands") if name in results}
    with tempfile.TemporaryDirectory() as folder:
        tiny = str(tiny_reader(Path(folder), "qwen", 0.02))
        places = dict(zip(READERS, ("smollm2", "smollm2:last", tiny), strict=True))
        names = {kind: places[kind] for kind in args.readers}
        without_last = {kind: name for kind, name in names.items() if kind != READERS[1]}
        work: dict[str, Callable[[], dict[str, Any]]] = {
            "equal": lambda: equal(names, 3),
            "process": lambda: process(without_last, Path(folder)),
            "message": message,
            "batch": lambda: batch(without_last),
            "budget": budget,
        }
        for part in args.parts:
            start = time.perf_counter()
            results[part] = results.get(part, {}) | work[part]()
            tell(part, f"{time.perf_counter() - start:.0f} s")
            commands = {**results.pop("commands", {}), part: args.command}
            results["commands"] = commands
            save(RESULT, results, args.command)
    return results


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Chunked against one pass, one message, many people together."""
    table = [
        (f"chunked reading against one pass, {name}",
         f"{row['largest_relative']:.1e} of the state's length at most")
        for name, row in results.get("equal", {}).items()
    ]  # fmt: skip
    table += [
        (f"40 new tokens after {row['history_tokens']:,}, SmolLM2 {kind}",
         f"{row['times_faster']:.0f} times faster than reading again "
         f"({row['read_again_seconds']:.1f} and {row['read_on_seconds']:.2f} s)")
        for kind, row in results.get("message", {}).items()
    ]  # fmt: skip
    return table + [
        (f"32 people together against one by one, {name}",
         f"{row['times_less']:.2f} times less processor time")
        for name, row in results.get("batch", {}).items()
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
