"""A reader and a head trained together."""
