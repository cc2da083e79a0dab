"""The instrument: items, totals, bands, missing items, change."""
