"""Turn states of people, from the readers of a run and their cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from leadline.arrays import Array
from leadline.cohort.timeline import Message, Timeline
from leadline.errors import LeadlineError
from leadline.heads.design import PersonStates
from leadline.heads.terms import METHOD, count_terms
from leadline.progress import Advance
from leadline.readers.anchors import anchor_directions, anchor_statements
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.open import open_reader
from leadline.readers.protocol import Reader
from leadline.readers.sentence import SentenceReader
from leadline.readers.state_cache import StateCache, cached_states

WORDS = "words and characters"
"""What the counts of words and characters are called beside the readers."""


class StateSource:
    """Readers, the views that they give, and the anchor directions in each view.

    Args:
        names: readers joined by ``+``, such as ``smollm2+minilm``.
        config: how language models are read.
        home: where readers and cached states are kept; see `fetch.leadline_home`.
        use_cache: keep states on disk between runs.
        lexical: count the words and characters of turns too.

    Raises:
        LeadlineError: a reader is not on this machine.
    """

    def __init__(
        self,
        names: str,
        config: ReaderConfig | None = None,
        *,
        home: Path | None = None,
        use_cache: bool = True,
        lexical: bool = False,
    ) -> None:
        self.names = tuple(part.strip() for part in names.split("+"))
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise LeadlineError(
                f"--reader {names!r} names no reader, or one twice.",
                remedy="Join different readers by +, such as smollm2+minilm.",
            )
        self.readers: list[LMReader | SentenceReader] = [
            open_reader(name, config=config, home=home) for name in self.names
        ]
        self.home, self.use_cache, self.lexical = home, use_cache, lexical
        self.views: dict[str, tuple[int, slice]] = {}
        for index, (name, reader) in enumerate(zip(self.names, self.readers, strict=True)):
            self.views |= {view: (index, part) for view, part in _views(name, reader)}
        self.directions = self._directions()

    @property
    def identities(self) -> dict[str, str]:
        """Identity of each reader by name; a checkpoint refuses readers of another identity."""
        readers = {
            name: f"{reader.identity}:anchors-{anchor_statements()[0]}"
            for name, reader in zip(self.names, self.readers, strict=True)
        }
        return {**readers, WORDS: f"terms-{METHOD}"} if self.lexical else readers

    def count(self, messages: Sequence[Message]) -> csr_matrix | None:
        """Words and characters of the user turns of a conversation, None where nobody asks."""
        if not self.lexical:
            return None
        return count_terms([message.text for message in messages if message.role == "user"])

    @property
    def contextual(self) -> bool:
        """Whether a language model is among the readers."""
        return any(reader.contextual for reader in self.readers)

    def _cache(self, reader: Reader) -> StateCache | None:
        return StateCache(reader, home=self.home) if self.use_cache else None

    def _directions(self) -> dict[str, Array]:
        reader_directions = [
            anchor_directions(reader, self._cache(reader)) for reader in self.readers
        ]
        return {
            view: reader_directions[index][:, part] for view, (index, part) in self.views.items()
        }

    def read(
        self, people: Sequence[Timeline], progress: Advance | None = None
    ) -> list[PersonStates]:
        """Turn states of each person, by view."""
        talks = [timeline.messages for timeline in people]
        reader_states = []
        for name, reader in zip(self.names, self.readers, strict=True):
            states = cached_states(reader, talks, self._cache(reader), progress)
            if not all(np.isfinite(array).all() for array in states):
                raise LeadlineError(
                    f"The reader {name} gave a state that is not finite.",
                    remedy="Read in --dtype float32, or with another reader; a state that was kept "
                    "so goes with the folder states of $LEADLINE_HOME.",
                )
            reader_states.append(states)
        return [
            PersonStates(
                {
                    view: reader_states[index][row][:, part]
                    for view, (index, part) in self.views.items()
                },
                timeline.user_words(),
                self.count(timeline.messages),
            )
            for row, timeline in enumerate(people)
        ]


def _views(name: str, reader: LMReader | SentenceReader) -> list[tuple[str, slice]]:
    """Names and columns of the views of a reader: one a layer, or the encoder's own embedding."""
    if not reader.layers:
        return [(name, slice(None))]
    return [
        (f"{name}:{layer}", slice(row * reader.hidden, (row + 1) * reader.hidden))
        for row, layer in enumerate(reader.layers)
    ]
