"""What every reader of other people's files needs: settings, files, rows, roles, times."""
