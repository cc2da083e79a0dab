"""The command line: verbs, flags, and the demo."""
