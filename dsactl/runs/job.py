"""Jobs: a request with its dataset, recipe, device and name, all checked."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.data.catalogue import entry_of
from dsactl.data.dataset import Dataset
from dsactl.data.load import check_counts, load_again, load_dataset
from dsactl.data.paths import absolute, expand, is_folder
from dsactl.data.views import base_name
from dsactl.engine.device import prepare_device, resolve_device, resolve_precision
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.engine.random import derive_seed
from dsactl.engine.run_files import SOURCE
from dsactl.errors import DataError, UsageError
from dsactl.expert_pools.named import check_pool, with_digest
from dsactl.expert_pools.pool import load_experts
from dsactl.expert_pools.settings import ExpertSettings
from dsactl.networks.build import structure
from dsactl.parametrisation.formation import check_formation
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.request_check import check_request
from registry.names import MAX_LENGTH

STUDIES, CONTINUAL = "studies", "continual"
OF_STUDIES = (STUDIES, CONTINUAL)
"""Namespaces of sets that studies make: a set with unusual settings should not be `NAME:latest`, or the newest set."""


@dataclass(frozen=True)
class Job:
    """A request with everything it needs, checked: no later step fails on bad input.

    Attributes:
        dataset: on the device.
        recipe: resolved.
        device: where to compute.
        name: of the set in the store.
        source: the arguments of `load_dataset` that found the dataset. They stay on this machine: a path says more
            about its owner than about the set.
    """

    dataset: Dataset
    recipe: Recipe
    device: torch.device
    name: registry.SetName
    source: dict[str, Any]

    def within(self, namespace: str) -> "Job":
        """Return the same job with its name in a namespace."""
        return replace(self, name=registry.SetName(namespace, self.name.name))

    def with_seed(self, index: int) -> "Job":
        """Return the job of the `index`-th of several sets: this one for 0, otherwise with a derived seed."""
        if index == 0:
            return self
        return replace(self, recipe=replace(self.recipe, seed=derive_seed(self.recipe.seed, "set", index)))

    def with_steps(self, steps: int) -> "Job":
        """Return the same job with another number of steps; see `Recipe.with_steps`."""
        return replace(self, recipe=self.recipe.with_steps(steps))


def prepare(
    request: Request,
    device: str | torch.device = "auto",
    like: Job | None = None,
    *,
    loaded: Dataset | None = None,
    store: registry.Store | None = None,
    progress: Progress = NO_PROGRESS,
    experts_checked: bool = False,
) -> Job:
    """Load the dataset, resolve the recipe, and refuse whatever cannot work.

    Args:
        request: the request.
        device: where to compute.
        like: a job that may have loaded the dataset already.
        loaded: the dataset, if the caller has loaded it.
        store: has the pool of experts that the request names, if any; None for the default store.
        progress: see `load_dataset`.
        experts_checked: whether the request has the digest of the pool that it names, and another process checks that
            pool: then no store is read.

    Raises:
        DsactlError: the dataset, an option, the network, the experts or the device cannot be used.
        registry.RegistryError: the pool of experts does not exist, or is damaged.
        registry.BadNameError: the set's name is not valid.
    """
    check_request(request)
    if not experts_checked:
        request = with_digest(request, store)
    target = resolve_device(str(device))
    precision = resolve_precision(request.precision, target)
    name = None if request.name is None else registry.parse_name(request.name)
    source: dict[str, Any] = {
        "name": absolute(request.dataset) if is_folder(request.dataset) else request.dataset,
        "image_size": request.image_size,
        "test_fraction": request.test_fraction,
        "split_seed": request.split_seed,
    }
    if loaded is None and like is not None and like.source == source:
        loaded = like.dataset
    dataset = loaded or load_dataset(**source, progress=progress)
    check_formation(request.formation, dataset.size)
    check_counts(dataset, request.ipc, formation=request.formation, short_classes=request.short_classes)
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
    if isinstance(recipe.settings, ExpertSettings) and recipe.settings.experts and not experts_checked:
        check_pool(load_experts(recipe.settings.experts, store), recipe, dataset)
    prepare_device(target)
    return Job(dataset.to(target), recipe, target, name or default_name(recipe), source)


def default_name(recipe: Recipe) -> registry.SetName:
    """Return the name of a recipe's set unless the user gives one.

    Raises:
        UsageError: it is too long.
    """
    try:
        return registry.parse_name(recipe.set_name)
    except registry.BadNameError:
        raise UsageError(
            f"The name {recipe.set_name} is too long.", f"Give one of at most {MAX_LENGTH} characters with `name`."
        ) from None


def run_folder(store: registry.Store, recipe: Recipe) -> Path:
    """Return the folder of a recipe's run."""
    return store.home / "runs" / recipe.digest()[:32]


def load_source(
    store: registry.Store, recipe: Recipe, progress: Progress = NO_PROGRESS, *, otherwise: str = ""
) -> Dataset:
    """Load the dataset that a set of this store was made from: from where its run read it, or by its name.

    Args:
        store, recipe, otherwise: see `source_of`.
        progress: see `load_dataset`.

    Raises:
        DataError: see `source_of`; or it cannot be read any more.
    """
    return load_again(**source_of(store, recipe, otherwise=otherwise), checksum=recipe.checksum, progress=progress)


def source_of(store: registry.Store, recipe: Recipe, *, otherwise: str = "") -> dict[str, Any]:
    """Return the arguments of `load_dataset` that find the dataset that a set of this store was made from.

    Args:
        store, recipe: of the set.
        otherwise: what to do if a folder is not known or gone; "" for naming it as `data`.

    Raises:
        DataError: it is a folder that this machine does not know, or that is not there any more.
    """
    try:
        of_images = replace(recipe, labels=None)  # labels that were replaced later have no run
        source = json.loads((run_folder(store, of_images) / SOURCE).read_text())
    except (FileNotFoundError, ValueError):
        source = None
    if not isinstance(source, dict):
        if entry_of(recipe.dataset):
            return {"name": recipe.dataset}
        raise DataError(
            f"The images of {recipe.dataset} are needed, and this machine does not know where they are.",
            otherwise or "Name their folder with `data`.",
        )
    name = str(source.get("name"))
    base = base_name(name)
    if is_folder(name) and not expand(base).is_dir():
        raise DataError(
            f"The images of {recipe.dataset} were read from {base}, which is not a folder any more.",
            otherwise or f"Give the folder where they are now: `data=FOLDER`{_with_views(name[len(base) :])}.",
        )
    return source


def _with_views(views: str) -> str:
    return f", followed by {views}" if views else ""
