"""A loaded set as a value for other programs: its batches, parts and normalisation refuse bad input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import dsactl
from dsactl.synthetic.synthetic_set import SyntheticSet


@pytest.fixture(scope="module")
def condensed() -> SyntheticSet:
    return dsactl.load("bundled/mnist-dsa-convnet-ipc1:1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
        ({"batch_size": -1}, "`batch_size` must be at least 1, not -1"),
        ({"batch_size": 2.5}, "`batch_size` must be a whole number, not 2.5"),
        ({"epochs": -1}, "`epochs` must be at least 1, not -1"),
        ({"epochs": "x"}, "`epochs` must be a whole number, not 'x'"),
        ({"epochs": True}, "`epochs` must be a whole number, not True"),
        ({"seed": "x"}, "`seed` must be a whole number, not 'x'"),
    ],
)
def test_bad_batches_are_refused_at_once(condensed: SyntheticSet, options: dict[str, Any], message: str) -> None:
    with pytest.raises(dsactl.Error, match=message):
        condensed.batches(**options)


def test_numbers_of_numpy_are_whole_numbers(condensed: SyntheticSet) -> None:
    (few,) = condensed.batches(np.int64(1), batch_size=np.int32(100), seed=np.int64(3))
    (same,) = condensed.batches(1, batch_size=100, seed=3)
    assert torch.equal(few[0], same[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda made: made.normalise(torch.zeros(2, 3, 28, 28)), "must be N×1×H×W, not 2×3×28×28"),
        (lambda made: made.normalise(torch.zeros(28, 28)), "must be N×1×H×W, not 28×28"),
        (lambda made: made.normalise(torch.zeros(1, 1, 9, 9).long()), "uint8 or floats in 0 … 1, not torch.int64"),
        (lambda made: made.part(torch.tensor([1, 0])), "ascending indices of 0 … 9"),
        (lambda made: made.part(torch.tensor([3, 3])), "ascending indices of 0 … 9"),
        (lambda made: made.part(torch.tensor([9, 10])), "ascending indices of 0 … 9"),
        (lambda made: made.part(torch.tensor([-1, 0])), "ascending indices of 0 … 9"),
        (lambda _: dsactl.load(None), "None is not a reference"),
        (lambda _: dsactl.load(3), "3 is not a reference"),
    ],
)
def test_bad_input_is_an_error_of_dsactl(
    condensed: SyntheticSet, call: Callable[[SyntheticSet], object], message: str
) -> None:
    with pytest.raises(dsactl.Error, match=message):
        call(condensed)


def test_a_part_may_be_empty(condensed: SyntheticSet) -> None:
    assert len(condensed.part(torch.tensor([], dtype=torch.int64))) == 0
