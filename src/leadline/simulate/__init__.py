"""Cohorts whose truth is known, and the best possible predictor for them."""
