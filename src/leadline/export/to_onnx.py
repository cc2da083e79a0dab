"""Pool, heads and calibration of a frozen run as one ONNX graph; the sentence encoder as another.

`model.onnx` takes the turn states of one reading and the words of each turn and gives the mean
and the distribution over 0..27 that the whole ensemble gives (`graph.EnsembleGraph`).
`encoder.onnx` takes tokens and gives those states, where the reader is a sentence encoder. Both
come from torch's exporter and are run by ONNX Runtime against Leadline before anything counts
as written.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.arrays import Ints
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError, missing_package
from leadline.export.graph import EnsembleGraph, GaussianProcessGraph
from leadline.heads.terms import METHOD
from leadline.readers.sentence import SentenceReader, pooled
from leadline.runs.check_talks import as_timeline, check_talks
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.state_source import StateSource

MODEL, ENCODER, TOKENIZER = "model.onnx", "encoder.onnx", "tokenizer"

COLUMNS_FILE = "columns.npy"  # which words and characters the graph looks at

OUTPUTS = ("estimated_mean", "estimated_distribution")

TOLERANCE = 1e-4  # points of the mean and probability

MOST_BYTES = 1_800_000_000  # an ONNX file is one protobuf message, which ends at 2 GiB

PRIVACY = (
    "model.onnx HOLDS THE POOLED TURN STATES OF THE TRAINING PEOPLE (a Gaussian process "
    "compares new text with them). They are numbers, no text, but they tell about what was "
    "said: treat the file like the conversations, and do not publish it. A run trained with "
    "--fit ridge or --fit histogram exports coefficients only."
)

NO_STATES = "model.onnx holds coefficients of the fitted heads, and nothing of single people."


def check_expressible(train: TrainConfig) -> None:
    """Raise `LeadlineError`, with what to do, for a run that is no ONNX graph here."""
    if train.adapt != "frozen":
        raise LeadlineError(
            f"--to onnx with a reader trained by --adapt {train.adapt}: the reader itself would "
            "have to be the graph, with its template and context budget.",
            remedy="Use --to vllm if the run has --state last, --pool last and --head scalar; "
            "else serve it with leadline score, or train with --adapt frozen.",
        )


def export_onnx(ensemble: Ensemble, folder: Path) -> dict[str, Any]:
    """Write the graphs into `folder` and return what the manifest says of them.

    Raises:
        LeadlineError: packages are missing, the graph would be too large for one file, or
            ONNX Runtime does not reproduce Leadline's numbers.
    """
    _require_packages()
    source = ensemble.source
    assert source is not None, "checked before"
    # ONNX Runtime has the error function in float32 only.
    graph = EnsembleGraph(ensemble, erf=torch.float32).eval()
    _check_size(graph)
    names = view_inputs(source)
    terms = _write_columns(graph, folder)
    _write_model(graph, [*names, *terms], source, folder / MODEL)
    holds_people = any(isinstance(part, GaussianProcessGraph) for part in graph.modules())
    encoders = _write_encoders(source, folder)
    checked = _check_model(ensemble, names, graph.columns, folder / MODEL)
    return {
        "target": "onnx",
        "exported": f"{len(ensemble.members)} models averaged in one graph, "
        f"off by {checked['largest_difference']:.1g} at most",
        "privacy": PRIVACY if holds_people else NO_STATES,
        "holds_training_states": holds_people,
        "members": len(ensemble.members),
        "pool": ensemble.pool,
        "readers": source.identities,
        "graph_inputs": {
            "words": "float32 (turns,): white-space separated words of each user turn",
            **{name: f"float32 (turns, width): states of {view}" for name, view in names.items()},
            **terms,
        },
        "graph_outputs": {
            OUTPUTS[0]: "float64 (): expected total",
            OUTPUTS[1]: "float64 (28,): calibrated probabilities of the totals 0 to 27",
        },
        "encoders": encoders,
        "checked": checked,
    }


def view_inputs(source: StateSource) -> dict[str, str]:
    """Name of each input of turn states -> the view that it takes."""
    views = list(source.views)
    if len(views) == 1:
        return {"states": views[0]}
    return {f"states_{number}": view for number, view in enumerate(views)}


def _write_columns(graph: EnsembleGraph, folder: Path) -> dict[str, str]:
    """Write which columns of counts the graph takes; name and meaning of that input, if any."""
    if not len(graph.columns):
        return {}
    np.save(folder / COLUMNS_FILE, graph.columns, allow_pickle=False)
    meaning = (
        f"float32 ({len(graph.columns)},): counts of the whole reading in the columns that "
        f"{COLUMNS_FILE} names, as leadline.heads.terms.count_terms counts (method {METHOD})"
    )
    return {"terms": meaning}


def _require_packages() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise missing_package(package, "export", "leadline export --to onnx") from error


def _check_size(graph: nn.Module) -> None:
    size = sum(buffer.numel() * buffer.element_size() for buffer in graph.buffers())
    if size > MOST_BYTES:
        raise LeadlineError(
            f"The graph would take {size / 1e9:.1f} GB; one ONNX file holds 2 GB. A Gaussian "
            "process grows with the square of the training readings, for each view and fold.",
            remedy="Train with --fit ridge or --fit histogram, with one reader, or fewer folds.",
        )


def _write_model(
    graph: EnsembleGraph, names: Sequence[str], source: StateSource, path: Path
) -> None:
    widths = [source.directions[view].shape[1] for view in source.views]
    turns = torch.export.Dim("turns", min=1)
    states = [torch.full((3, width), 0.1) for width in widths]
    terms = [torch.ones(len(graph.columns))] if len(graph.columns) else []
    example = (torch.full((3,), 8.0), *states, *terms)
    shapes = ({0: turns}, (*({0: turns} for _ in widths), *({} for _ in terms)))
    _write(graph, example, path, ["words", *names], list(OUTPUTS), shapes)


class Encoder(nn.Module):
    """A sentence encoder, as `SentenceReader` reads, a tensor a view."""

    def __init__(self, model: Any, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Tokens and mask, int64 (texts, tokens) -> states of each layer, float32 (texts, hidden).

        Without layers those are the encoder's own embeddings.
        """
        views = pooled(self.model, input_ids, attention_mask, self.layers)
        return tuple(views.chunk(max(len(self.layers), 1), dim=1))


def _write_encoders(source: StateSource, folder: Path) -> dict[str, Any]:
    """Write each sentence encoder; a language model's states come from Leadline itself."""
    entries: dict[str, Any] = {}
    for number, (name, reader) in enumerate(zip(source.names, source.readers, strict=True)):
        if not isinstance(reader, SentenceReader):
            entries[name] = "not exported: a language model; take its states from Leadline"
            continue
        mark = "" if len(source.readers) == 1 else f"_{number}"
        file = ENCODER.replace(".onnx", f"{mark}.onnx")
        tokenizer = f"{TOKENIZER}{mark}"
        texts, tokens = torch.export.Dim("texts", min=1), torch.export.Dim("tokens", min=2)
        ids = torch.full((3, 7), int(reader.tokenizer.cls_token_id))
        shape = {0: texts, 1: tokens}
        encoder = Encoder(reader.model.float().cpu(), reader.layers).eval()
        inputs = ["input_ids", "attention_mask"]
        states = [
            name for name, view in view_inputs(source).items() if source.views[view][0] == number
        ]
        _write(encoder, (ids, torch.ones_like(ids)), folder / file, inputs, states,
               (shape, shape))  # fmt: skip
        reader.tokenizer.save_pretrained(folder / tokenizer)
        reader.model.to(reader.device)
        entries[name] = {
            "file": file,
            "tokenizer": tokenizer,
            "tokens": f"{reader.tokenizer.cls_token}, those of the turn, "
            f"{reader.tokenizer.sep_token}",
            "window_tokens": reader.window,
            "states": states,
            "longer_turns": "cut into windows; states averaged by their tokens"
            + ("" if reader.layers else ", then length one"),
            "largest_difference": _check_encoder(reader, states, folder / file),
        }
    return entries


def _write(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    shapes: Any,
) -> None:
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None, "dynamo=True gives a program"
    program.save(path)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without the exporter's talk of its own deprecations and of absent torchvision."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def open_session(path: Path) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _check_model(
    ensemble: Ensemble, names: dict[str, str], columns: Ints, path: Path
) -> dict[str, Any]:
    """Compare the graph with Leadline on every reading of the check conversations."""
    assert ensemble.source is not None, "checked before"
    people = [as_timeline(f"check {n}", talk) for n, talk in enumerate(check_talks())]
    states = ensemble.source.read(people)
    spans = [
        Span(row, first, last)
        for row, person in enumerate(states)
        for last in range(len(person.words))
        for first in sorted({0, last})
    ]
    expected = ensemble.distributions(people, states, spans)
    session = open_session(path)
    worst = 0.0
    for span, shape, total in zip(spans, expected.probabilities, expected.mean(), strict=True):
        turns = span.turns
        inputs = {"words": states[span.person].words[turns].astype(np.float32)}
        inputs |= {
            name: np.ascontiguousarray(states[span.person].views[view][turns])
            for name, view in names.items()
        }
        counts = states[span.person].terms
        if len(columns) and counts is not None:
            inputs["terms"] = np.asarray(counts[turns].sum(axis=0), np.float32)[0, columns]
        mean, distribution = session.run(list(OUTPUTS), inputs)
        difference = np.abs(distribution - shape).max()
        worst = max(worst, float(difference), abs(float(mean) - float(total)))
    _check_worst(worst, path)
    return {"readings": len(spans), "largest_difference": worst, "allowed": TOLERANCE}


def _check_encoder(reader: SentenceReader, states: list[str], path: Path) -> float:
    texts = [message.text for talk in check_talks() for message in talk if message.role == "user"]
    expected = reader.embed(texts)
    tokenizer = reader.tokenizer
    rows = [
        [tokenizer.cls_token_id, *words[: reader.window - 2], tokenizer.sep_token_id]
        for words in tokenizer(texts, add_special_tokens=False)["input_ids"]
    ]
    ids = np.full((len(rows), max(map(len, rows))), int(tokenizer.pad_token_id), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    computed = np.concatenate(open_session(path).run(states, inputs), axis=1)
    worst = float(np.abs(computed - expected).max())
    _check_worst(worst, path)
    return worst


def _check_worst(worst: float, path: Path) -> None:
    if not worst <= TOLERANCE:
        raise LeadlineError(
            f"{path.name} does not give Leadline's numbers: off by {worst:.2g}, "
            f"{TOLERANCE:g} is allowed. Nothing was written.",
            remedy="Install the versions of torch, onnxscript and onnxruntime in "
            "constraints.txt, and report this if it stays.",
        )
