"""The random coreset: real images of each class, drawn without replacement (Section 4.2)."""

import torch

from dsactl.methods.work import CondensedSet, MethodContext


def random(work: MethodContext) -> CondensedSet:
    """Draw `ipc` real images of every class."""
    real, ipc = work.dataset, work.recipe.ipc
    images = [real.draw(label, ipc, work.generator("coreset", label)) for label in range(real.classes)]
    return CondensedSet(torch.cat(images), real.labels(ipc))
