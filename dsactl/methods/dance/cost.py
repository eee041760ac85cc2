"""The cost of a run of DANCE: operations by counting, without those of its experts' training."""

from dsactl.data.dataset import Dataset
from dsactl.methods.dance.settings import Dance
from dsactl.methods.distribution_matching.cost import IMAGE_GRADIENT, real_images, totals
from dsactl.recipes.recipe import Recipe


def counts(recipe: Recipe, dataset: Dataset) -> dict[str, float]:
    """Count the iterations and operations of a run, by name."""
    settings = recipe.settings_as(Dance)
    images = dataset.classes * min(recipe.decoded, settings.batch_synthetic)
    steps = 2 if settings.calibration else 1
    passes = real_images(dataset, settings.batch_real) + steps * IMAGE_GRADIENT * images
    return totals(recipe, dataset, settings.iterations, passes)
