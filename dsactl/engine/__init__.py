"""The machine: device, precision, memory, random streams, checkpoints."""
