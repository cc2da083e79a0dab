"""A run: trained, kept, loaded, estimating."""
