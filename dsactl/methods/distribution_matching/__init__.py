"""Distribution matching: synthetic images whose mean features are those of real images."""
