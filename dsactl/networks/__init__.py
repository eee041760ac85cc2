"""The networks of the paper: one file per family, one catalogue of names."""
