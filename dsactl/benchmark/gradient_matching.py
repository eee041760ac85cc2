"""Timing of Algorithm 1: its inner step, and the training of networks on the synthetic set."""

from collections.abc import Callable
from functools import partial

from dsactl.benchmark.timing import FirstClasses
from dsactl.data.dataset import Dataset
from dsactl.engine.mode import Mode
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.condense import condense, initial
from dsactl.methods.gradient_matching.inner_network import training_of
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.networks.build import initial_state, structure
from dsactl.networks.fused import fuse
from dsactl.recipes.recipe import Recipe
from dsactl.training.sgd import stack


def inner_step(dataset: Dataset, recipe: Recipe, mode: Mode, classes: int) -> Callable[[], object]:
    """Return a function that takes an inner step of the first classes: one process's share of the work."""
    endless = recipe.with_settings(inner_steps=1, iterations=10**6)
    states = condense(dataset, endless, mode=mode, processes=FirstClasses(classes))
    return lambda: next(states)


def network_steps(dataset: Dataset, recipe: Recipe, mode: Mode, steps: int) -> Callable[[], object]:
    """Return a function that takes several steps of SGD."""
    assert recipe.network is not None
    network = structure(recipe.network, dataset.channels, dataset.size, dataset.classes)
    if mode.native:
        fuse(network)
    parameters, buffers = initial_state(network, generator(0, "bench-network"), dataset.train.labels_N.device)
    images_NCHW = initial(dataset, recipe).images_KICHW.flatten(0, 1)
    labels_N = dataset.labels(recipe.ipc)
    batch = recipe.settings_as(GradientMatching).batch_train
    images_NCHW, labels_N = images_NCHW[-batch:], labels_N[-batch:]
    several = recipe.with_settings(network_epochs=steps)
    training = training_of(network, several, dataset.size, captured=mode.captured)
    source = partial(generator, 0, "bench-training")
    return lambda: training(stack([parameters]), stack([buffers]), images_NCHW, labels_N, [source()])
