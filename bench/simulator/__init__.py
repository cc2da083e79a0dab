"""Whether simulated people are hard enough to be worth something."""
