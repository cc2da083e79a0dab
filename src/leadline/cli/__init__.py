"""Flags, verbs, the demo."""
