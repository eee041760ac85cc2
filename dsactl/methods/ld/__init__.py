"""Label Distillation (Bohdal, Yang and Hospedales, 2020)."""
