"""Coresets: sets of real images."""
