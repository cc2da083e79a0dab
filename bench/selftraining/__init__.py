"""What labels without a PHQ-9 are worth: teachers, rounds of pseudolabels."""
