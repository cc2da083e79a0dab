"""The same numbers as other programs give."""
