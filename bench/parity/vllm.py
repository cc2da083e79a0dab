"""Compare a running vLLM server with Leadline's own raw estimates, reading by reading.

    leadline export RUN --to vllm --out DIR --members 0
    (cd DIR && the command under "serve" in manifest.json)
    python -m bench run parity.vllm RUN DIR [--member 0] [--url http://localhost:8000]

Sends the check conversations as token ids and as messages to /classify. Not yet run: no vLLM was
at hand.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from bench.protocol import run_module
from leadline.export.to_vllm import prompt_ids
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.runs.check_talks import check_talks

TAKES = "a run, its export and a vLLM server of it"
RESULT = "vllm_parity"


def options(parser: argparse.ArgumentParser) -> None:
    """What was exported, and where it is served."""
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("--member", type=int, default=0, help="entry of the manifest")
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument(
        "--add-intercept", action="store_true", help="the server was started without logit_mean"
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Ask the server, ask Leadline, compare."""
    member = json.loads((args.export / "manifest.json").read_text())["members"][args.member]
    model = FinetunedModel.load(args.run / "checkpoint" / member["directory"])
    added = member["intercept"] if args.add_intercept else 0.0
    expected, ids, chat = [], [], []
    for talk in check_talks():
        ends = [at for at, message in enumerate(talk) if message.role == "user"]
        readings = [LabelledSpan(turn, turn) for turn in range(len(ends))]
        expected += model.predict([TrainPerson(talk, readings)])[0].tolist()
        for end in ends:
            messages = talk[: end + 1]
            ids.append(prompt_ids(model.tokens, model.budget, messages))
            chat.append([{"role": m.role, "content": m.text} for m in messages])
    by_ids = np.array([ask(args.url, {"input": row}) + added for row in ids])
    by_chat = np.array([ask(args.url, {"messages": row}) + added for row in chat])
    return {
        "member": member["directory"],
        "readings": len(expected),
        "largest_difference_token_ids": float(np.abs(by_ids - np.array(expected)).max()),
        "largest_difference_messages": float(np.abs(by_chat - np.array(expected)).max()),
        "leadline_float32_against_its_own_arithmetic": member[
            "largest_difference_of_leadlines_own_arithmetic"
        ],
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """By how many points the server differs."""
    return [
        (f"vLLM asked by {name}, against Leadline, {results['readings']} readings",
         f"differs by at most {results[f'largest_difference_{key}']:.1e} points")
        for key, name in {"token_ids": "token ids", "messages": "messages"}.items()
    ]  # fmt: skip


def ask(url: str, request: dict[str, Any]) -> float:
    """The one number that /classify gives for a prompt."""
    body = json.dumps(request).encode()
    call = urllib.request.Request(
        f"{url}/classify", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=120) as reply:
        probabilities = json.loads(reply.read())["data"][0]["probs"]
    assert len(probabilities) == 1, "one label"
    return float(probabilities[0])


if __name__ == "__main__":
    run_module()
