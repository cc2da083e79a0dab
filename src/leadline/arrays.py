"""The kinds of arrays that pass between modules, each named once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Ints = npt.NDArray[np.int64]

Bools = npt.NDArray[np.bool_]

Times = npt.NDArray[np.datetime64]

States = npt.NDArray[np.float32]
"""Of turns, as readers give and caches keep them."""

Floats = npt.NDArray[np.floating[Any]]
"""Of either width, where a function computes in that of its input."""
