"""The paper's studies: what its tables and figures compare, run by the same code as `condense` and `evaluate`."""
