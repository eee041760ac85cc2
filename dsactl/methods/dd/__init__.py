"""Dataset Distillation (Wang et al., 2018)."""
