"""Herding, k-centre and forgetting on real digits, from the request to the stored set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sessions import Stopping
from torch import Tensor

import dsactl
import registry
from dsactl.data.dataset import Dataset
from dsactl.errors import DataError
from dsactl.methods.coresets.features import class_features
from dsactl.methods.coresets.herding import herd
from dsactl.methods.coresets.reference_network import train_on_whole
from dsactl.methods.work import MethodContext
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training import sgd

METHODS = ("herding", "kcenter", "forgetting")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return dsactl.load_dataset("digits")


def condense(method: str, ipc: int = 3, **options: Any) -> SyntheticSet:
    options = {"width": 16, "precision": "float32", "options": {"epochs": 3}, **options}
    return dsactl.condense("digits", ipc=ipc, method=method, device="cpu", **options)


def places(made: SyntheticSet, digits: Dataset) -> list[int]:
    """Where each image of a set is in the training split: the nearest image of its class, which must be itself."""
    found = []
    for image, label in zip(made.images, made.labels.tolist(), strict=True):
        first, count = digits.train.starts[label], digits.train.counts[label]
        real = digits.normalise(digits.train.images_NCHW[first : first + count])
        distances: Tensor = (real - image).abs().amax((1, 2, 3))
        assert distances.min() == 0
        found.append(first + int(distances.argmin()))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_real_images_of_their_class_the_same_for_the_same_seed(method: str, digits: Dataset, tmp_path: Path) -> None:
    made = condense(method)
    assert made.reference.startswith(f"digits-{method}-convnet-width16-ipc3")
    assert made.labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert len(set(places(made, digits))) == 30
    assert condense(method, store=registry.Store(tmp_path / "again")).digest == made.digest
    other = condense(method, seed=1)
    assert set(places(other, digits)) != set(places(made, digits))


@pytest.mark.parametrize("method", METHODS)
def test_the_first_images_are_the_set_of_fewer(method: str) -> None:
    few, more = condense(method, 2), condense(method, 5)
    assert torch.equal(few.images.unflatten(0, (10, 2)), more.images.unflatten(0, (10, 5))[:, :2])


@pytest.mark.parametrize(("method", "options"), [*((m, {}) for m in METHODS), ("forgetting", {"norm": "batch"})])
def test_an_interrupted_run_goes_on_to_the_same_set(
    method: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted between two epochs, then in the middle of the third and of the fourth."""
    options = {**options, "options": {"epochs": 5}}
    whole = condense(method, store=registry.Store(tmp_path / "whole"), **options)
    store, steps, progress = registry.Store(tmp_path / "parts"), 0, Stopping(2)
    sgd_step: Callable[..., None] = sgd.sgd_step

    def interrupted(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        sgd_step(*arguments)
        if steps in (12 + 3, 12 + 3 + 6 + 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(sgd, "sgd_step", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            condense(method, store=store, progress=progress, **options)
    made = condense(method, store=store, progress=progress, **options)
    assert progress.seen == [0, 1, 2, 2, 2, 3, 3, 4, 5]
    assert made.digest == whole.digest
    assert torch.equal(made.images, whole.images)


def test_the_mean_of_herding_is_nearer_than_that_of_random_choices(digits: Dataset) -> None:
    made = condense("herding", 5)
    work = MethodContext(digits, made.recipe)
    trained = train_on_whole(work)
    for label in range(10):
        features = class_features(trained, digits, label)
        mean = features.mean(0)

        def error(chosen: Tensor, features: Tensor = features, mean: Tensor = mean) -> float:
            return (features[chosen].mean(0) - mean).norm().item()

        chosen = herd(features, 5)
        assert chosen.tolist() == [
            place - digits.train.starts[label] for place in places(made, digits)[5 * label :][:5]
        ]
        source = torch.Generator().manual_seed(label)
        drawn = [error(torch.randperm(len(features), generator=source)[:5]) for _ in range(100)]
        assert error(chosen) < min(drawn)


@pytest.mark.parametrize("method", METHODS)
def test_more_images_than_a_class_has_are_refused(method: str, digits: Dataset) -> None:
    smallest = min(digits.train.counts)
    with pytest.raises(DataError, match=rf"has {smallest} training images, fewer than `ipc={smallest + 1}`") as raised:
        condense(method, smallest + 1)
    ways = f'Use `ipc={smallest}` or less, or add images, or repeat them: `condense(..., short_classes="repeat")`.'
    assert raised.value.hint == ways


def test_nothing_is_said_of_a_schedule_that_the_method_has_not(program: Any) -> None:
    done = program("condense", "digits", "--ipc", "3", "--method", "herding", "--option", "epochs=1")
    assert done.returncode == 0, done.stderr
    assert "Stored digits-herding-convnet-ipc3:1" in done.stdout
    assert "schedule" not in done.stderr
