"""What a set costs: numbers, bytes, decoded images, and whether 8 bits lose nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from samples import manifest, tensors

import registry
from registry.cost import Cost, fit_in_8_bits
from registry.tensors import Array

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)
SOFT = np.full((4, 2), 0.5, np.float32)
"""Two classes for the four images of `samples.tensors`, of nine pixels each."""


def normalised(levels: Array, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Array:
    """8-bit pixels N×C×H×W in normalised space, computed in float32."""
    shift, scale = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (mean, std))
    return (levels.astype(np.float32) / np.float32(255) - shift) / scale


@pytest.mark.parametrize(("soft", "formation", "expected"), [
    (False, None, Cost(36, 144, 0, 4)),
    (True, None, Cost(36, 144, 32, 4)),
    (True, 3, Cost(36, 144, 32, 36)),
])  # fmt: skip
def test_numbers_and_bytes(soft: bool, formation: int | None, expected: Cost) -> None:
    arrays = {**tensors(), **({"soft_labels": SOFT} if soft else {})}
    recipe: dict[str, registry.JsonValue] = {} if formation is None else {"formation": formation}
    known = manifest(arrays).model_copy(update={"recipe": recipe})
    assert Cost.of_manifest(known) == expected
    store = registry.Store()
    store.put(registry.parse_name("made"), arrays, known)
    for _ in range(2):
        (entry,) = store.entries()[0]
        assert Cost.of_entry(entry) == expected


@pytest.mark.parametrize("formation", [0, -2, "2", 2.0, None])
def test_a_formation_that_is_none_counts_as_one(formation: registry.JsonValue) -> None:
    known = manifest(tensors()).model_copy(update={"recipe": {"formation": formation}})
    assert Cost.of_manifest(known).decoded_images == 4


def test_every_level_of_8_bits_is_recognised() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for mean in (0.0, 0.1307, 0.5, 0.999999):
        for std in (1.0, 0.3081, 0.01, 1e-6):
            assert fit_in_8_bits(normalised(levels, (mean,), (std,)), (mean,), (std,))
    colours = np.random.default_rng(0).integers(0, 256, (600, 3, 4, 4), np.uint8)
    assert fit_in_8_bits(normalised(colours), MEAN, STD)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images + np.float32(1e-5),
        lambda images: images - np.float32(1e-5),
        lambda images: images * np.float32(1.001),
        lambda images: normalised(np.full_like(images, 255)) + np.float32(1 / 255 / 0.2023),
        lambda images: normalised(np.zeros_like(images)) - np.float32(1 / 255 / 0.2023),
        lambda images: np.random.default_rng(1).normal(size=images.shape).astype(np.float32),
    ],
)
def test_other_values_are_not(change: Callable[[Array], Array]) -> None:
    images = normalised(np.random.default_rng(0).integers(0, 256, (600, 3, 4, 4), np.uint8))
    images[-1:] = change(images[-1:])
    assert not fit_in_8_bits(images, MEAN, STD)
    assert fit_in_8_bits(images[:-1], MEAN, STD)
