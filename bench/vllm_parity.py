"""Compare a running vLLM server with Leadline's own raw estimates, reading by reading.

    leadline export RUN --to vllm --out DIR --members 0
    (cd DIR && the command under "serve" in manifest.json)
    python bench/vllm_parity.py RUN DIR [--member 0] [--url http://localhost:8000]

Sends the check conversations as token ids and as messages to /classify and writes
bench/results/vllm_parity.json. Not yet run: no vLLM was at hand.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from checkins import save
from leadline.export.checks import check_talks
from leadline.export.to_vllm import prompt_ids
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel


def main() -> None:
    """Ask the server, ask Leadline, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("--member", type=int, default=0, help="entry of the manifest")
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument(
        "--add-intercept", action="store_true", help="the server was started without logit_mean"
    )
    given = parser.parse_args()
    member = json.loads((given.export / "manifest.json").read_text())["members"][given.member]
    model = FinetunedModel.load(given.run / "checkpoint" / member["directory"])
    added = member["intercept"] if given.add_intercept else 0.0
    want, ids, chat = [], [], []
    for talk in check_talks():
        ends = [at for at, message in enumerate(talk) if message.role == "user"]
        readings = [LabelledSpan(turn, turn) for turn in range(len(ends))]
        want += model.predict([TrainPerson(talk, readings)])[0].tolist()
        for end in ends:
            said = talk[: end + 1]
            ids.append(prompt_ids(model.tokens, model.budget, said))
            chat.append([{"role": m.role, "content": m.text} for m in said])
    by_ids = np.array([ask(given.url, {"input": one}) + added for one in ids])
    by_chat = np.array([ask(given.url, {"messages": one}) + added for one in chat])
    results = {
        "member": member["directory"],
        "readings": len(want),
        "largest_difference_token_ids": float(np.abs(by_ids - np.array(want)).max()),
        "largest_difference_messages": float(np.abs(by_chat - np.array(want)).max()),
        "leadline_float32_against_its_own_arithmetic": member[
            "largest_difference_of_leadlines_own_arithmetic"
        ],
    }
    print(json.dumps(results, indent=2))
    save("vllm_parity", results)


def ask(url: str, request: dict[str, Any]) -> float:
    """The one number that /classify gives for a prompt."""
    body = json.dumps(request).encode()
    call = urllib.request.Request(
        f"{url}/classify", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=120) as reply:
        found = json.loads(reply.read())["data"][0]["probs"]
    assert len(found) == 1, "one label"
    return float(found[0])


if __name__ == "__main__":
    main()
