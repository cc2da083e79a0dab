"""Who is compared with whom: label windows, splits and folds by person."""
