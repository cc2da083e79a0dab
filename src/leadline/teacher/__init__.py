"""Labels from language models."""
