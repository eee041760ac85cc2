"""Augmentation: Differentiable Siamese Augmentation and DC's own."""
