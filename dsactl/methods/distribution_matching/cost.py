"""The cost of a run of distribution matching: operations by counting.

The gradient with respect to the images costs two forward passes: one forward, one backward, without those of the
weights.
"""

from dsactl.data.dataset import Dataset
from dsactl.methods.distribution_matching.settings import DistributionMatching
from dsactl.methods.operations import forward_operations
from dsactl.recipes.recipe import Recipe

IMAGE_GRADIENT = 2


def counts(recipe: Recipe, dataset: Dataset) -> dict[str, float]:
    """Count the iterations and operations of a run, by name."""
    settings = recipe.settings_as(DistributionMatching)
    passes = real_images(dataset, settings.batch_real) + IMAGE_GRADIENT * dataset.classes * recipe.decoded
    return totals(recipe, dataset, settings.iterations, passes)


def real_images(dataset: Dataset, batch_real: int) -> int:
    """Return the number of real images in an iteration."""
    return sum(min(count, batch_real) for count in dataset.train.counts)


def totals(recipe: Recipe, dataset: Dataset, iterations: int, passes: float) -> dict[str, float]:
    """Return the counts of a run whose iterations take so many forward passes of one image."""
    assert recipe.network is not None
    return {"iterations": iterations, "operations": iterations * passes * forward_operations(recipe.network, dataset)}
