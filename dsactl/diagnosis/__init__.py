"""What slows this machine, and what is broken on it: the checks of `doctor`, each measured."""
