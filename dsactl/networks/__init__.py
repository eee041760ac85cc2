"""Networks: the catalogue, the architectures, and layers fused for the CPU."""
