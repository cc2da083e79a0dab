"""What people said and answered, and who is compared with whom."""
