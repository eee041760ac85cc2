"""The first check on a GPU, one command for a short lease: what holds, how long it takes, what breaks (docs/gpu.md)."""
