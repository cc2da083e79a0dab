"""What people said: the schema, importers, and the cohort on disk."""
