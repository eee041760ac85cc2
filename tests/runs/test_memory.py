"""The peak of memory against the number of classes, in a process of its own."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
from itertools import islice
import torch
from dsactl.benchmark.images import random_dataset
from dsactl.data.catalogue import CatalogueEntry
from dsactl.methods.gradient_matching.condense import condense
from dsactl.methods.gradient_matching.inner_step import choose_mode, class_bytes
from dsactl.engine.memory import keep_freed_memory, peak_memory
from dsactl.recipes.recipe import Request

cpu = torch.device("cpu")
keep_freed_memory()
for classes in (4, 40):
    entry = CatalogueEntry("random", 0, 10, 3, (32, 32), classes, mirrored=True)
    dataset = random_dataset("random", entry, 64, cpu)
    request = Request.parse({"dataset": "random", "ipc": 8, "inner_steps": 1, "batch_real": 16})
    recipe = request.resolve("random", "", (3, 32, 32), mirrored=True, precision="float32")
    mode = choose_mode(dataset, recipe, cpu, long=False)
    list(islice(condense(dataset, recipe, mode=mode), 2))
    kept = sum(tensor.nbytes for tensor in (dataset.train.images_NCHW, dataset.test.images_NCHW))
    print(json.dumps([peak_memory(cpu) - kept, class_bytes(recipe, classes)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_the_peak_does_not_grow_with_the_number_of_classes() -> None:
    """The peak so far, after a few classes and then after many."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=300)
    (few, _), (many, one_class) = map(json.loads, run.stdout.splitlines())
    # Some numbers for every image do grow: momentum, gradients and copies of them, and what lies between. The matching
    # of 36 classes more would take gigabytes.
    assert 36 * one_class > 4 * 2**30
    assert many - few < 0.03 * 36 * one_class
