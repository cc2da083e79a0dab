"""Numbers from estimates and gold labels, and the report made of them."""
