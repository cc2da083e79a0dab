"""The instrument: items, totals, bands, distributions over totals."""
