"""Names of the heads and pools of frozen states."""

from __future__ import annotations

HEADS = ("gp", "ridge", "histogram", "network")  # heads of frozen readers

POOLS = ("mean", "words", "last")  # pools of frozen states
