"""Augmentation: Differentiable Siamese Augmentation (DSA), and DC's own."""
