"""Dataset Distillation."""
