"""Continual learning at a scale for tests."""

from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.continual.learner import Phase, Settings

SMALL = Settings(NetworkSpec(width=16), ("crop", "scale"), Phase(40, 0.02), Phase(40, 0.01))
THREE = "digits@classes0-8"
FAST = ("--tasks", THREE, "--splits", "3", "--ipc", "3", "--steps", "20", "--balance-steps", "10", "--repeats", "1")
FAST += ("--ray", "off")
