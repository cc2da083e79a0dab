"""What estimates are worth, on the check-ins and on simulated people."""
