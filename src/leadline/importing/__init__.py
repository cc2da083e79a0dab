"""From other people's files to a cohort."""
