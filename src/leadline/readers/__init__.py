"""From messages to states."""
