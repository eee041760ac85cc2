"""The benchmark: the time of steps of training on this machine, and the utilisation of its hardware."""
