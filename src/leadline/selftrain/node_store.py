"""What a self-training run has worked out so far, on disk, so that a killed run goes on.

A node is a set of named arrays: the estimates of a student, or a batch of pseudolabels. It
appears whole or not at all; a file that is there is never computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline import processes
from leadline.artefact import private_folder, replacing

Node = dict[str, npt.NDArray[Any]]


class NodeStore:
    """Nodes by name, in memory and in a folder.

    Attributes:
        made: nodes computed by this process.
        progress: called with the number of nodes at hand, if set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0
        self.progress: Callable[[int], None] | None = None
        self._kept: dict[str, Node] = {}
        private_folder(folder)

    def has(self, name: str) -> bool:
        """Whether the node `name` is at hand or on disk."""
        return name in self._kept or (self.folder / f"{name}.npz").is_file()

    def get(self, name: str, make: Callable[[], Node], *, needs: str | None = None) -> Node:
        """The node `name`: kept, read, or made by `make` and written.

        One on disk without the array `needs` is of an earlier version, and is made anew.
        """
        if name in self._kept:
            return self._kept[name]
        path = self.folder / f"{name}.npz"
        # Of several processes that make nodes together the first says what is there, and writes.
        node = processes.broadcast(_read(path) if path.is_file() else {})
        if not node or (needs is not None and needs not in node):
            node = make()
            if processes.rank() == 0:
                _write(path, node)
            self.made += 1
        self._kept[name] = node
        if self.progress is not None:
            self.progress(len(self._kept))
        return node


def _read(path: Path) -> Node:
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def _write(path: Path, node: Node) -> None:
    # Of a stream, since savez puts .npz behind a name that does not end so.
    with replacing(path) as scratch, scratch.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **node)
