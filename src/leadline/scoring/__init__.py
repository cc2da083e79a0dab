"""Everybody of a cohort, part by part."""
