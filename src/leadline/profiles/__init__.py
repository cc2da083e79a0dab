"""The nine items beside the total: a response model and what it says of each answer."""
