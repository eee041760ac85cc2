"""Gradient matching: Dataset Condensation with Differentiable Siamese Augmentation (Zhao and Bilen, ICML 2021)."""
