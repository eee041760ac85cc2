"""Sets whose values are far outside the range of the dataset's pixels are remarked upon."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

import dsactl
from dsactl.methods.work import CondensedSet
from dsactl.runs.job import Job
from dsactl.runs.made_check import doubt_of_range

SMALL = ("--iterations", "1", "--width", "4", "--depth", "1")


@pytest.mark.parametrize("method", ["dsa", "dm", "dd"])
def test_a_learning_rate_that_is_far_too_large(cli: Callable[..., tuple[int, str, str]], method: str) -> None:
    words = ("condense", "digits", "--ipc", "1", "--method", method, *SMALL)
    code, _, err = cli(*words, "--image-lr", "1e30")
    assert code == 0, err
    (said,) = (line for line in err.splitlines() if "its pixels are" in line)
    assert said.startswith(f"digits-{method}-convnet-depth1-width4-ipc1:1: ")
    assert said.endswith("and those of digits are 0 … 1. Use a smaller --image-lr than 1e+30.")
    assert "its pixels are" not in cli(*words)[2]


def test_images_learned_with_the_paper_s_settings() -> None:
    for name in ("mnist", "fashionmnist", "cifar10"):
        found = dsactl.load(f"bundled/{name}-dsa-convnet-ipc1")
        about = SimpleNamespace(mean=found.mean, std=found.std, name=name)
        job = cast(Job, SimpleNamespace(dataset=about, recipe=found.recipe))
        made = CondensedSet(found.images, found.labels)
        assert not doubt_of_range(made, job)
        assert "`image_lr` than 0.1" in doubt_of_range(replace(made, images_NCHW=100 * found.images), job)
