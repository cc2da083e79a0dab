"""What the fits of one process share: the base, and what it gives of people already read.

Self-training fits the same reader to the same people again and again, with other labels. Three
things stay the same from fit to fit and are kept here:

- the base in memory. Each fit has modules and adapters of its own on the same frozen weights;
- the outputs of the layers below the adapted ones, for whoever was read, to train on them and to
  estimate them;
- the running states of the unadapted reader, from which a head starts.

All of them are computed person by person, so that they do not depend on who else is read: a fit
ends with the weights, bit by bit, that it ends with on its own. Where nothing can be shared
(every weight is trained, or the weights are divided among processes) a fit loads its own base.
"""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor

from leadline import processes
from leadline.errors import LeadlineWarning
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import TokenisedPerson
from leadline.finetune.lower_layers import (
    compute_outputs,
    first_adapted,
    gives_the_same,
    output_bytes,
)
from leadline.finetune.module import Base, Regressor, build_on, load_base
from leadline.readers.backbone import default_device
from leadline.readers.fetch import reader_path

SAME_BASE = ("adapt", "layers", "dtype", "base_weights", "shard")
"""Settings that a base is loaded for; fits that differ in others can share it."""


class SharedReader:
    """A base and what it gave of the people that were read, for the fits of one process.

    Args:
        reader: a fetched reader or a local model directory.
        config: of the fits; they may differ in everything but `SAME_BASE`. Its `lower_gb` is the
            memory for outputs of lower layers.
        home: where fetched readers are kept.
    """

    def __init__(self, reader: str, config: FinetuneConfig, home: Path | None = None) -> None:
        self.reader, self.config, self.home = reader, config, home
        self.kept_bytes = 0
        self._base: Base | None = None
        self._outputs: dict[bytes, Tensor] = {}
        self._states: dict[bytes, Tensor] = {}
        self._same: dict[int, bool] = {}
        self._full = False

    def serves(self, reader: str, config: FinetuneConfig) -> bool:
        """Whether a fit of `reader` with these settings can share this base."""
        divided = config.shard and processes.launched() > 1
        return (
            reader == self.reader
            and config.adapt == "lora"
            and not divided
            and all(getattr(config, name) == getattr(self.config, name) for name in SAME_BASE)
        )

    def regressor(self, config: FinetuneConfig) -> Regressor:
        """Fresh adapters, pool and head on the shared base, as `module.build` makes them."""
        device = default_device()
        if self._base is None:
            base = load_base(reader_path(self.reader, home=self.home), self.config, device)
            self._base = Base(base.backbone.to(device), base.layers)
        return build_on(self._base.copy(), config, device)

    def with_lower(
        self, regressor: Regressor, examples: Sequence[TokenisedPerson]
    ) -> list[TokenisedPerson]:
        """Examples with the outputs of the layers below the adapted ones, where that is possible.

        Every process must ask for the same people.
        """
        if not self._possible(regressor, examples):
            return list(examples)
        backbone = regressor.backbone
        first = first_adapted(backbone)
        rows = [row for example in examples for row in example.rows]
        keys = [_digest([row], [first]) for row in rows]
        missing = {
            key: row for key, row in zip(keys, rows, strict=True) if key not in self._outputs
        }
        new_outputs: dict[bytes, Tensor] = {}
        if missing:
            outputs = compute_outputs(backbone, list(missing.values()))
            new_outputs = dict(zip(missing, outputs, strict=True))
        if new_outputs and first not in self._same:
            key = next(iter(new_outputs))
            self._same[first] = gives_the_same(backbone, missing[key], new_outputs[key])
        if not self._same[first]:
            return list(examples)
        self._keep(new_outputs)
        row_outputs = iter(
            [new_outputs[key] if key in new_outputs else self._outputs[key] for key in keys]
        )
        return [example._replace(lower=[next(row_outputs) for _ in example.rows])
                for example in examples]  # fmt: skip

    def _possible(self, regressor: Regressor, examples: Sequence[TokenisedPerson]) -> bool:
        if regressor.mix is not None or self.config.lower_gb == 0:
            return False
        first = first_adapted(regressor.backbone)
        return first > 0 and any(e.rows for e in examples) and self._same.get(first, True)

    def _keep(self, outputs: dict[bytes, Tensor]) -> None:
        for key, output in outputs.items():
            if self.kept_bytes + output.nbytes <= self.config.lower_gb * 1e9:
                self._outputs[key] = output
                self.kept_bytes += output.nbytes
            elif not self._full:
                self._full = True
                warnings.warn(
                    f"The outputs of the layers below the adapted ones fill the "
                    f"{self.config.lower_gb:g} GB of --lower-gb; further people are read anew in "
                    "each fit. The numbers stay the same. More memory makes it faster.",
                    LeadlineWarning,
                    stacklevel=2,
                )

    def groups_in_memory(
        self, regressor: Regressor, groups: Sequence[list[int]], examples: Sequence[TokenisedPerson]
    ) -> Iterable[list[list[int]]]:
        """Groups of people, together as many as have their lower outputs in memory at once."""
        chunk: list[list[int]] = []
        size = 0
        for group in groups:
            rows = [row for index in group for row in examples[index].rows]
            added = output_bytes(regressor.backbone, rows)
            if chunk and size + added > self.config.lower_gb * 1e9:
                yield chunk
                chunk, size = [], 0
            chunk.append(group)
            size += added
        if chunk:
            yield chunk

    def start_states(
        self,
        kind: str,
        examples: Sequence[TokenisedPerson],
        compute: Callable[[Sequence[TokenisedPerson]], list[Tensor]],
    ) -> list[Tensor]:
        """Running states of the unadapted reader, (readings, width) a person.

        Args:
            kind: in words, what they depend on beside the people.
            examples: the people.
            compute: gives those that were not yet asked for.
        """
        keys = [kind.encode() + _person_digest(example) for example in examples]
        missing = {k: e for k, e in zip(keys, examples, strict=True) if k not in self._states}
        if missing:
            self._states.update(zip(missing, compute(list(missing.values())), strict=True))
        return [self._states[key] for key in keys]


def _digest(rows: Sequence[Sequence[int]], numbers: Sequence[int]) -> bytes:
    digest = hashlib.blake2b(array("q", numbers).tobytes(), digest_size=20)
    for row in rows:
        digest.update(array("q", [len(row), *row]).tobytes())
    return digest.digest()


def _person_digest(example: TokenisedPerson) -> bytes:
    readings = [place for r in example.readings for place in (r.first, r.last)]
    spans = [place for span in example.spans for place in span]
    return _digest(example.rows, [len(spans), *spans, *readings])
