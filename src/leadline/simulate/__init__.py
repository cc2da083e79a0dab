"""From nothing to a cohort whose truth is known."""
