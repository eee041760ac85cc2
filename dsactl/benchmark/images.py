"""Random images for the benchmark: speed does not depend on their content, and no dataset is needed."""

import torch

from dsactl.data.catalogue import CatalogueEntry
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.random import generator


def random_dataset(name: str, entry: CatalogueEntry, per_class: int, device: torch.device) -> Dataset:
    """Return a dataset of random pixels in the shapes of a named one.

    Args:
        name: of the dataset.
        entry: its shapes.
        per_class: training images of each class.
        device: where the images go.
    """
    source = generator(0, "bench-images")

    def split(count: int) -> ImageSet:
        images = torch.randint(256, (count, entry.channels, *entry.size), dtype=torch.uint8, generator=source)
        return ImageSet.from_tensors(images, torch.arange(count) % entry.classes, entry.classes)

    half = (0.5,) * entry.channels
    names = tuple(str(label) for label in range(entry.classes))
    return Dataset(name, names, half, half, entry.mirrored, split(per_class * entry.classes), split(entry.test)).to(
        device
    )
