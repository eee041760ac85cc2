"""Training networks on a set."""
