"""What people said and answered; who is compared with whom."""
