"""Which version this is, and what is said beside every estimate."""

from __future__ import annotations

__version__ = "0.1.0"

NOTICE = (
    "An estimate from conversation, not a PHQ-9 response, not a diagnosis, not a crisis service."
)
SIMULATED_NOTICE = (
    "Made from simulated people: it tests the software and says nothing about clinical validity."
)
