"""Monitoring over HTTP: what comes in, what a care team reads."""
