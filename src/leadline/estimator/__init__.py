"""Readers, pools, heads, training, checkpoints, baselines, ensembles."""
