"""Import of sets that other programs or machines made, with checks."""
