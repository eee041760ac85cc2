"""Synthetic sets: as values, stored, bundled and imported."""
