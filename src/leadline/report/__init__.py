"""From results to a page and to lines in the terminal."""
