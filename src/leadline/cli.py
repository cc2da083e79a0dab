"""The command line: one verb, one config, one call."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `leadline` command."""
    raise SystemExit("leadline: no verbs yet")
