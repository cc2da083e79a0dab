"""A sentence encoder that reads each user turn by itself.

The state is the mean over the turn's tokens at chosen layers, or, where none is chosen, at the last
and then of length one, which is the embedding that the encoder's own configuration prescribes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from leadline.arrays import States
from leadline.errors import LeadlineError
from leadline.progress import Advance, tokens_read
from leadline.readers.backbone import default_device, load_tokenizer, resolve_layers
from leadline.readers.batching import TokenRow, batches
from leadline.readers.fetch import quiet_transformers, reader_path, reader_revision
from leadline.readers.loading import NO_CODE, loading
from leadline.readers.protocol import Conversation, reader_identity


class SentenceReader:
    """Embeds each user turn by itself with a sentence encoder.

    Args:
        name: a fetched encoder or a local model directory.
        layers: to read, as `backbone.resolve_layers`; none for the encoder's own embedding.
        max_tokens: of a turn; the last ones are read.
        batch_tokens: read at once.
        device: where to run; by default a GPU if there is one.
        home: where fetched readers are kept, see `fetch.leadline_home`.

    A turn longer than the encoder takes is cut into windows whose embeddings are averaged by
    their tokens; of a turn longer than `max_tokens` the last ones are read. An empty turn has
    the embedding of the encoder's two end marks.

    Raises:
        LeadlineError: the reader is not on this machine, or pools in another way.
    """

    contextual = False

    def __init__(
        self,
        name: str = "minilm",
        *,
        layers: Sequence[float] = (),
        max_tokens: int = 8192,
        batch_tokens: int | None = None,
        device: torch.device | None = None,
        home: Path | None = None,
    ) -> None:
        from transformers import AutoModel

        quiet_transformers()
        path = reader_path(name, home=home)
        self.revision = reader_revision(path)
        self.device = device or default_device()
        on_cpu = self.device.type == "cpu"
        self.max_tokens = max_tokens
        # Small batches stay in a core's cache; a GPU wants large ones.
        self.batch_tokens = batch_tokens or (512 if on_cpu else 4096)
        with loading(path):
            self.window = _sentence_window(path)
            self.tokenizer = load_tokenizer(path)
            self.model = AutoModel.from_pretrained(path, dtype=torch.float32, **NO_CODE)
        depth = int(self.model.config.num_hidden_layers)
        self.layers = tuple(dict.fromkeys(resolve_layers(layers, depth))) if layers else ()
        self.model.eval().to(self.device)
        if on_cpu:
            use_onednn(self.model)

    @property
    def identity(self) -> str:
        """Hex digest of revision, window, token limit and layers."""
        return reader_identity(
            kind="sentence",
            revision=self.revision,
            window=self.window,
            max_tokens=self.max_tokens,
            **({"layers": self.layers} if self.layers else {}),
        )

    @property
    def hidden(self) -> int:
        """The encoder's hidden size."""
        return int(self.model.config.hidden_size)

    @property
    def width(self) -> int:
        """Hidden size times the number of layers read."""
        return self.hidden * max(len(self.layers), 1)

    def states(
        self, conversations: Sequence[Conversation], progress: Advance | None = None
    ) -> list[States]:
        """States of the user turns of each conversation, float32 (user turns, width)."""
        texts = [m.text for talk in conversations for m in talk if m.role == "user"]
        flat = self.embed(texts, progress)
        counts = [sum(m.role == "user" for m in talk) for talk in conversations]
        return np.split(flat, np.cumsum(counts)[:-1]) if counts else []

    def embed(self, texts: Sequence[str], progress: Advance | None = None) -> States:
        """States of texts, float32 (texts, width); of length one where no layer was chosen."""
        distinct = list(dict.fromkeys(texts))
        jobs = [job for row, text in enumerate(distinct) for job in self._jobs(row, text)]
        sums = np.zeros((len(distinct), self.width), np.float32)
        length = np.zeros(len(distinct), np.float32)
        total, place = sum(len(job.ids) for job in jobs), 0
        for batch in batches(jobs, self.batch_tokens):
            for job, vector in zip(batch, self._read(batch), strict=True):
                sums[job.conversation] += vector * len(job.ids)
                length[job.conversation] += len(job.ids)
            count = sum(len(job.ids) for job in batch)
            tokens_read(count)
            place += count
            if progress is not None:
                progress(place, total)
        if not self.layers:
            length = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
        position = {text: row for row, text in enumerate(distinct)}
        means: States = sums / length[:, None]
        return means[[position[text] for text in texts]] if texts else means

    def _jobs(self, row: int, text: str) -> list[TokenRow]:
        words = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        words = words[-self.max_tokens :]
        room = self.window - 2
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [
            TokenRow(row, 0, [first, *words[at : at + room], last], [])
            for at in range(0, max(len(words), 1), room)
        ]

    @torch.inference_mode()
    def _read(self, batch: Sequence[TokenRow]) -> States:
        length = max(len(job.ids) for job in batch)
        ids = torch.full((len(batch), length), int(self.tokenizer.pad_token_id))
        mask = torch.zeros(len(batch), length, dtype=torch.long)
        for row, job in enumerate(batch):
            ids[row, : len(job.ids)] = torch.tensor(job.ids)
            mask[row, : len(job.ids)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        return pooled(self.model, ids, mask, self.layers).cpu().numpy()


def pooled(
    model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, layers: Sequence[int]
) -> torch.Tensor:
    """States of texts at `layers` of an encoder side by side, float32 (texts, width).

    Args:
        model: of transformers, with hidden states.
        ids: tokens (texts, tokens), int64.
        mask: 1 where a token is, (texts, tokens), int64.
        layers: numbers from 1; none for the last, scaled to length one.
    """
    out = model(input_ids=ids, attention_mask=mask, output_hidden_states=bool(layers))
    weights = mask.unsqueeze(-1).float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    if not layers:
        mean = (out.last_hidden_state.float() * weights).sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)
    means = [(out.hidden_states[layer].float() * weights).sum(dim=1) for layer in layers]
    return torch.cat(means, dim=1)


class OneDnnLinear(torch.nn.Linear):
    """A float32 linear layer on a CPU, computed by oneDNN.

    torch sends float32 matrix products on x86 to MKL, which does not use the vector units of
    AMD processors fully: with oneDNN the encoder reads 1.7 times as many tokens a second there
    (bench/speed/sentence_reader.py), and gives the same numbers to 3e-7. This is the call that
    torch's own compiler makes.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``input @ weight.T + bias``, without gradient."""
        if (
            torch.compiler.is_compiling()
        ):  # an exported graph holds the layer, not this machine's way
            return super().forward(input)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return out


def use_onednn(model: torch.nn.Module) -> None:
    """Let oneDNN compute the linear layers of a float32 model in place, where torch has it."""
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear


def _sentence_window(path: Path) -> int:
    """Tokens that the encoder takes; its own files must ask for mean pooling and unit length."""
    pooling = next(
        (
            file
            for file in (path / "pooling.json", path / "1_Pooling/config.json")
            if file.is_file()
        ),
        None,
    )
    modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    mean = pooling is not None and bool(
        json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens")
    )
    if kinds != ["Transformer", "Pooling", "Normalize"] or not mean:
        raise LeadlineError(
            "This sentence encoder does not pool by the mean and scale to length one.",
            remedy="Use the reader minilm, or an encoder of that kind.",
            file=path,
        )
    settings = json.loads((path / "sentence_bert_config.json").read_text(encoding="utf-8"))
    return int(settings["max_seq_length"])
