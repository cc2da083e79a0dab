"""The longitudinal store, the smoother, the service and the page."""
