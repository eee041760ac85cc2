"""From what a user asks for to a job that can be done: data set, recipe, device and name, checked."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.data.catalogue import entry_of
from dsactl.data.dataset import Dataset
from dsactl.data.load import check_counts, load_dataset
from dsactl.data.paths import is_folder
from dsactl.engine.device import prepare_device, resolve_device, resolve_precision
from dsactl.engine.random import derive_seed
from dsactl.errors import DataError, UsageError
from dsactl.networks.build import structure
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.request_check import check_request

STUDIES, CONTINUAL = "studies", "continual"
OF_STUDIES = (STUDIES, CONTINUAL)
"""Namespaces of sets that studies make: one that is unusual in something should not be `NAME:latest`, or the newest."""


@dataclass(frozen=True)
class Job:
    """A request with everything it needs, checked: nothing that follows fails on bad input.

    Attributes:
        dataset: on the device.
        recipe: resolved.
        device: where to compute.
        name: of the set in the store.
        source: the arguments of `load_dataset` that found the data set. They stay on this machine: a path says more
            about its owner than about the set.
    """

    dataset: Dataset
    recipe: Recipe
    device: torch.device
    name: registry.SetName
    source: dict[str, Any]

    def within(self, namespace: str) -> "Job":
        """The same job under a name of a namespace."""
        return replace(self, name=registry.SetName(namespace, self.name.name))

    def with_seed(self, index: int) -> "Job":
        """The job of the `index`-th of several sets: 0 is this one, the others have seeds derived from its own."""
        if index == 0:
            return self
        return replace(self, recipe=replace(self.recipe, seed=derive_seed(self.recipe.seed, "set", index)))


def prepare(request: Request, device: str = "auto", like: Job | None = None, *, loaded: Dataset | None = None) -> Job:
    """Load the data set, resolve the recipe, and refuse whatever cannot work.

    Args:
        request: what is asked for.
        device: where to compute.
        like: a job that may have the data set already.
        loaded: the data set, where the caller has it.

    Raises:
        DsactlError: of the data set, the options, the network or the device.
        registry.BadNameError: of the set's name.
    """
    check_request(request)
    target = resolve_device(device)
    precision = resolve_precision(request.precision, target)
    name = None if request.name is None else registry.parse_name(request.name)
    source: dict[str, Any] = {
        "name": str(Path(request.dataset).expanduser().absolute()) if is_folder(request.dataset) else request.dataset,
        "image_size": request.image_size,
        "test_fraction": request.test_fraction,
        "split_seed": request.split_seed,
    }
    dataset = loaded or (like.dataset if like is not None and like.source == source else load_dataset(**source))
    check_counts(dataset, request.ipc)
    if find(request.method).network:
        structure(request.network(), dataset.channels, dataset.size, dataset.classes)
    recipe = request.resolve(
        dataset.name,
        dataset.train.checksum(),
        (dataset.channels, *dataset.size),
        mirrored=dataset.mirrored,
        precision=precision,
    )
    recipe.settings.check(recipe)
    prepare_device(target)
    return Job(dataset.to(target), recipe, target, name or _own_name(recipe), source)


def _own_name(recipe: Recipe) -> registry.SetName:
    try:
        return registry.parse_name(recipe.set_name)
    except registry.BadNameError:
        raise UsageError(f"The name {recipe.set_name} is too long.", "Give a shorter one with `name`.") from None


def run_folder(store: registry.Store, recipe: Recipe) -> Path:
    """The folder of a recipe's run."""
    return store.home / "runs" / recipe.digest()[:32]


def load_source(store: registry.Store, recipe: Recipe) -> Dataset:
    """The data set that a set of this store was made from, found where its run found it; a named one, by its name.

    Raises:
        DataError: it is a folder that this machine does not know, or it cannot be read any more.
    """
    try:
        source = json.loads((run_folder(store, recipe) / "source.json").read_text())
    except (FileNotFoundError, ValueError):
        source = None
    if not isinstance(source, dict):
        if entry_of(recipe.dataset):
            return load_dataset(recipe.dataset)
        raise DataError(
            f"The images of {recipe.dataset} are needed to test on, and this machine does not know where they are.",
            "Name their folder with `data`.",
        )
    return load_dataset(**source)
