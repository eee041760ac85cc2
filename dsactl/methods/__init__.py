"""Ways to make a small set out of a large one, other than Algorithm 1: one file for each, one interface for all."""
