"""Rounds of pseudolabels, with their ancestry."""
