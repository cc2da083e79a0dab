"""From states to a total (numpy; knows no reader)."""
