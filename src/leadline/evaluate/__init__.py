"""From predictions to results and a report."""
