"""Rounds of label, train, relabel, with an ancestry ledger."""
