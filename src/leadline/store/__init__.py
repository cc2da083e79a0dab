"""The store of monitoring: people, messages, PHQ-9s, estimates and asks in one database."""
