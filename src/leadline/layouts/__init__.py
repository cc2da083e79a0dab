"""Layouts of conversations, each with its reader."""
