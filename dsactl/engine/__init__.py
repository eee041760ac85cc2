"""Execution: device, precision, memory, random streams, checkpoints, processes, Ray."""
