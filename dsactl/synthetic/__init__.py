"""Synthetic sets: as values, in the store, bundled and imported."""
