"""Words of the schema that settings and flags need; imports nothing, so help stays fast."""

from __future__ import annotations

ROLES = ("user", "assistant", "clinician", "system")
INSTRUMENTS = ("phq9", "phq8", "phq2")
ITEM_COLUMNS = tuple(f"item_{number}" for number in range(1, 10))
