"""Tests that are run on a CPU, which proves the test itself, and on a GPU where there is one."""

import pytest

ON_EACH_DEVICE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
"""A test with this mark has a parameter `device`, and compares what is computed there with a CPU's result."""
