"""The random coreset: real images of each class, drawn without replacement (Section 4.2)."""

import torch

from dsactl.methods.work import Made, Work


def random(work: Work) -> Made:
    """Draw `ipc` real images of every class."""
    real, ipc = work.dataset, work.recipe.ipc
    images = [real.draw(label, ipc, work.generator("coreset", label)) for label in range(real.classes)]
    return Made(torch.cat(images), real.labels(ipc))
