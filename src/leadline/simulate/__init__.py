"""People whose true severity is known, and the best possible predictor for them."""
