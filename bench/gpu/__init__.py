"""What needs a GPU, or says what one would take."""
