"""Settings of a reader."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.settings import check_choices, flag, setting


@dataclass(frozen=True)
class ReaderConfig:
    """How a causal language model, or a sentence encoder, is read."""

    layers: tuple[float, ...] = setting(
        (2 / 3,), "Layers to read: whole numbers from 1, or fractions of the depth below 1."
    )
    sentence_layers: tuple[float, ...] = setting(
        (), "Layers of a sentence encoder to read; none for its own embedding."
    )
    state: str = setting(
        "mean",
        "State of a turn in a language model: over its own tokens, or at the last.",
        choices=("mean", "last"),
    )
    max_tokens: int = setting(
        8192, "Context of a language model in tokens; older turns leave first.", least=64
    )
    dtype: str = setting(
        "auto",
        "Arithmetic of a language model; auto is bfloat16 on a GPU and on a processor that "
        "multiplies it (AVX-512 BF16, AMX), float32 on others. A run keeps what it was trained in.",
        choices=("auto", "float32", "bfloat16"),
    )
    batch_tokens: int = setting(
        4096, "Tokens read at once, padding included; a processor takes 768 at most.", least=1
    )

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("layers", "sentence_layers"):
            layers = getattr(self, name)
            bad = [layer for layer in layers if layer <= 0 or (layer > 1 and layer % 1)]
            if bad or (name == "layers" and not layers):
                raise LeadlineError(
                    f"{flag(name)} holds {bad or 'nothing'}.",
                    remedy="Give whole numbers from 1, or fractions between 0 and 1.",
                )
