"""Labels from language models: clients, rubric, request store, label model."""
