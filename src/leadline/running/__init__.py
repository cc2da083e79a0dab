"""Message by message."""
