"""Real images instead of synthetic ones: what condensing is compared with."""
