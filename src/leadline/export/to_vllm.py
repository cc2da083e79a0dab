"""Fine-tuned models as vLLM's pooling runner loads them: one directory a member.

vLLM has a sequence classification class for many causal models: last token, a linear score
without bias in float32, and with ``problem_type="regression"`` no squashing. A run expresses
that if it reads the last token of the last turn at the last layer and has a scalar head. LoRA is
merged, and the head's fixed standardisation is folded into `score.weight`; what remains of it,
one number, goes to the server as ``logit_mean``, which vLLM subtracts (the field is called
``logit_bias`` in versions before that name).

The files are checked against transformers' own class, which has the same form. They were not
run against vLLM.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson, encode
from leadline.finetune.model import FinetunedModel
from leadline.readers.arithmetic import DTYPES
from leadline.readers.tokens import ROLE_NAMES, Template, Tokens
from leadline.runs.check_talks import check_talks
from leadline.runs.checkpoint import checkpoint_members, load_adapted
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import AdaptedModel

ARCHITECTURES = {
    # model_type -> the name that vLLM knows, and transformers' class of the same form
    "llama": ("LlamaForSequenceClassification", "LlamaForSequenceClassification"),
    "qwen3_5_text": (
        "Qwen3_5ForSequenceClassification",
        "Qwen3_5TextForSequenceClassification",
    ),
}

TOLERANCE = {"float32": 1e-3, "bfloat16": 1.0}  # PHQ-9 points

UNTESTED = (
    "Checked against transformers' class of the same form; not run against vLLM. Check a "
    "running server with python -m bench run parity.vllm."
)

PRIVACY = (
    "The weights were fitted to what people said, and a fine-tuned language model can remember "
    "rare strings: treat them as you treat the conversations."
)


def export_vllm(
    run: Path, folder: Path, train: TrainConfig, config: ExportConfig, *, home: Path | None = None
) -> dict[str, Any]:
    """Write a directory for each member into `folder`; return what the manifest says of them.

    Raises:
        LeadlineError: vLLM's runner cannot express the run, there is no such member, or
            transformers does not reproduce Leadline's numbers from what was written.
    """
    check_expressible(train)
    entries = checkpoint_members(run)
    numbers = config.members or tuple(range(len(entries)))
    if max(numbers) >= len(entries):
        raise LeadlineError(
            f"--members {max(numbers)}: the run has {len(entries)} members.",
            remedy=f"Give numbers from 0 to {len(entries) - 1}.",
        )
    # One after the other: a large reader is in memory once.
    members = [
        _export_member(load_adapted(run, entries[row], home=home), folder / entries[row]["file"],
                       config.dtype)
        for row in dict.fromkeys(numbers)
    ]  # fmt: skip
    worst = max(member["largest_difference"] for member in members)
    return {
        "target": "vllm",
        "exported": f"{len(members)} models, off by {worst:.1g} points at most",
        "privacy": PRIVACY,
        "untested": UNTESTED,
        "members": members,
        "estimate": "raw output + intercept (vLLM subtracts logit_mean, which is -intercept), "
        "then the calibration of the member, then the mean over members, each narrowed by twice "
        "the variance among their locations",
    }


def check_expressible(train: TrainConfig) -> None:
    """Raise `LeadlineError`, with what to do, for a run that vLLM's runner cannot express."""
    instead = (
        "Serve this run with leadline score. For vLLM, train with --adapt lora --state last "
        "--pool last --head scalar --layers 1.0."
    )
    if train.adapt == "frozen":
        raise LeadlineError(
            "--to vllm with a frozen run: its heads (Gaussian process, ridge, histogram) stand "
            "on pooled and calibrated states outside the language model, and vLLM's score is "
            "one linear map of the last token.",
            remedy=f"Use --to onnx. {instead}",
        )
    reasons = {
        f"--pool {train.pool}: the runner keeps the last token and cannot average turns": (
            train.pool != "last"
        ),
        f"--state {train.state}: the runner reads one token, not the mean of a turn": (
            train.state != "last"
        ),
        "--head distribution: 28 outputs would come back as scores without the mean and "
        "without the sum to one": train.head != "scalar",
    }
    obstacles = [reason for reason, holds in reasons.items() if holds]
    if obstacles:
        raise LeadlineError(
            f"vLLM's pooling runner cannot express this run: {'; '.join(obstacles)}.",
            remedy=instead,
        )


@dataclass(frozen=True)
class Check:
    """A prompt and the raw estimate that Leadline's own module gives for it."""

    ids: list[int]
    messages: list[Message]
    raw: float


def _export_member(member: AdaptedModel, path: Path, dtype: str) -> dict[str, Any]:
    model: FinetunedModel = member.model.shared()
    backbone = model.regressor.backbone
    architecture = _architecture(model)
    native_checks = _checks(model)  # in the arithmetic that Leadline scores in
    backbone.float()
    checks = _checks(model)
    merge_adapters(backbone)
    weight, intercept = folded_head(model.regressor.head)
    path.mkdir(parents=True)
    _write_weights(backbone, weight, path, DTYPES[dtype])
    _write_config(backbone.config, architecture[0], path, dtype)
    exact = _write_tokenizer(model.tokens, checks, path)
    device = model.device
    worst = largest_difference(path, architecture[1], checks, intercept, device)
    if not worst <= TOLERANCE[dtype]:
        raise LeadlineError(
            f"transformers does not give Leadline's numbers from the exported weights: off by "
            f"{worst:.2g} points, {TOLERANCE[dtype]:g} is allowed. Nothing was written.",
            remedy="Use --dtype float32 if this was bfloat16; else report it.",
        )
    pooler = json.dumps({"pooling_type": "LAST", "logit_mean": -intercept})
    return {
        "directory": path.name,
        "architecture": architecture[0],
        "reader": model.reader,
        "reader_revision": model.revision,
        "context_tokens": model.budget,
        "intercept": intercept,
        "calibration": member.calibration.to_plain(),
        "serve": f"vllm serve {path.name} --runner pooling --dtype {dtype} "
        f"--pooler-config '{pooler}'",
        "chat_template_gives_the_same_tokens": exact,
        "readings": len(checks),
        "largest_difference": worst,
        "largest_difference_of_leadlines_own_arithmetic": max(
            abs(a.raw - b.raw) for a, b in zip(native_checks, checks, strict=True)
        ),
    }


def _architecture(model: FinetunedModel) -> tuple[str, str]:
    backbone = model.regressor.backbone
    kind = str(backbone.config.model_type)
    if kind not in ARCHITECTURES:
        raise LeadlineError(
            f"The name that vLLM has for a {kind!r} reader with a score is not known here.",
            remedy=f"Use a reader of the kind {' or '.join(ARCHITECTURES)}, or leadline score.",
        )
    if isinstance(backbone.norm, torch.nn.Identity) or model.regressor.mix is not None:
        raise LeadlineError(
            "This run reads an inner layer, or a mix of layers; vLLM ends every model with the "
            "last layer and its norm.",
            remedy="Train with --layers 1.0, or serve this run with leadline score.",
        )
    return ARCHITECTURES[kind]


def _checks(model: FinetunedModel) -> list[Check]:
    """What the model itself says after every user turn of the check conversations."""
    out = []
    for talk in check_talks():
        ends = [n for n, message in enumerate(talk) if message.role == "user"]
        readings = [LabelledSpan(turn, turn) for turn in range(len(ends))]
        raw = model.predict([TrainPerson(talk, readings)])[0]
        out += [
            Check(prompt_ids(model.tokens, model.budget, talk[: end + 1]), talk[: end + 1],
                  float(value))
            for end, value in zip(ends, raw, strict=True)
        ]  # fmt: skip
    return out


def prompt_ids(tokens: Tokens, budget: int, messages: Sequence[Message]) -> list[int]:
    """The prompt whose last token is that of the last user turn's words.

    Args:
        tokens: tokenizer and template of the reader.
        budget: context budget in tokens; older messages leave as in training.
        messages: of a person, up to and including a user turn.
    """
    turn = sum(message.role == "user" for message in messages) - 1
    example = encode(TrainPerson(messages, [LabelledSpan(turn, turn)]), tokens, budget)
    row, _, stop = example.spans[-1]
    return example.rows[row][:stop]


def merge_adapters(backbone: Any) -> None:
    """Replace every LoRA layer of `backbone` by its base layer with the adapter added."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.get_base_layer())


def folded_head(head: Any) -> tuple[Tensor, float]:
    """A scalar `LinearHead` as one weight on raw states, float32 (1, width), and an intercept."""
    weight = head.linear.weight.detach().double() / head.scale.double()
    intercept = head.linear.bias.detach().double() - weight @ head.centre.double()
    return weight.float(), float(intercept)


def _write_weights(backbone: Any, weight: Tensor, path: Path, dtype: torch.dtype) -> None:
    from huggingface_hub import save_torch_state_dict

    tensors = {
        f"model.{name}": value.detach().to(dtype).cpu().contiguous()
        for name, value in backbone.state_dict().items()
    }
    tensors["score.weight"] = weight.cpu().contiguous()
    save_torch_state_dict(tensors, path, metadata={"format": "pt"})


def _write_config(config: Any, architecture: str, path: Path, dtype: str) -> None:
    config = copy.deepcopy(config)
    config.architectures = [architecture]
    config.num_labels = 1
    config.problem_type = "regression"
    config.dtype = dtype
    config.save_pretrained(path)


def _write_tokenizer(tokens: Tokens, checks: Sequence[Check], path: Path) -> bool:
    """Write the tokenizer with the conversation template as trained.

    Returns:
        True if rendering the check conversations through it gives exactly the tokens of
        `prompt_ids`.
    """
    tokenizer = copy.deepcopy(tokens.tokenizer)
    tokenizer.chat_template = jinja_template(tokens.template)
    tokenizer.save_pretrained(path)
    return all(
        tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.text} for m in check.messages],
            tokenize=True,
            return_dict=False,
        )
        == check.ids
        for check in checks
    )


def jinja_template(template: Template) -> str:
    """A conversation template that ends with the last message's words, as a prompt must."""
    parts = [f"{{{{ {json.dumps(template.start)} }}}}{{% for m in messages %}}"]
    for number, (role, name) in enumerate(ROLE_NAMES.items()):
        mark = "elif" if number else "if"
        parts.append(
            f"{{% {mark} m['role'] == {json.dumps(role)} %}}"
            f"{{{{ {json.dumps(template.before[name])} + m['content'] }}}}"
            f"{{% if not loop.last %}}{{{{ {json.dumps(template.after[name])} }}}}{{% endif %}}"
        )
    parts.append("{% endif %}{% endfor %}")
    return "".join(parts)


@torch.no_grad()
def largest_difference(
    path: Path, name: str, checks: Sequence[Check], intercept: float, device: torch.device
) -> float:
    """Largest difference in points between transformers' class `name` in `path` and `checks`."""
    import transformers

    model = getattr(transformers, name).from_pretrained(
        path, dtype=torch.float32, local_files_only=True
    )
    model.to(device).eval()
    outputs = [
        float(model(input_ids=torch.tensor([check.ids], device=device), use_cache=False).logits)
        for check in checks
    ]
    expected = np.array([check.raw for check in checks])
    return float(np.abs(np.array(outputs) + intercept - expected).max())
