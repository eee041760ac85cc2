"""Label Distillation."""
