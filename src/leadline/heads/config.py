"""Names of the heads and pools of frozen states."""

from __future__ import annotations

FROZEN_HEADS = ("gp", "ridge", "histogram", "network")  # heads of frozen readers

FROZEN_POOLS = ("mean", "words", "last")  # pools of frozen states
