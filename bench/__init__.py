"""Measurements. They run from the root of the repository: `python -m bench list`."""
