"""Forgetting: the real images that a network forgets most often in training (Toneva et al., 2019; Section 4.2).

Shapes: N images of the training split, or of a class; B of a batch, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dsactl.methods.coresets.reference_network import train_on_whole
from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import CondensedSet, MethodContext

NEVER_LEARNED = torch.iinfo(torch.int32).max
"""Stands for more events than any image has."""


@dataclass(frozen=True)
class History:
    """The predictions for each image while a network is trained; changed in place.

    Attributes:
        right_N: whether its last prediction was right; False before the first.
        learned_N: whether any prediction was right.
        events_N: forgetting events, in which a wrong prediction followed a right one, int32.
    """

    right_N: Tensor
    learned_N: Tensor
    events_N: Tensor

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "History":
        """Return the history of `count` images that have not been seen yet."""
        right_N, learned_N = torch.zeros(2, count, dtype=torch.bool, device=device).unbind()
        return cls(right_N, learned_N, torch.zeros(count, dtype=torch.int32, device=device))

    def see(self, indices_B: Tensor, right_B: Tensor) -> None:
        """Record the predictions for a batch of distinct images."""
        self.events_N[indices_B] += self.right_N[indices_B] & ~right_B
        self.learned_N[indices_B] |= right_B
        self.right_N[indices_B] = right_B

    def forgotten(self) -> Tensor:
        """Return the events of each image, N on the CPU; `NEVER_LEARNED` if no prediction was right."""
        return self.events_N.masked_fill(~self.learned_N, NEVER_LEARNED).cpu()


def forgetting(work: MethodContext) -> CondensedSet:
    """Choose `ipc` images of every class by `most_forgotten`, while a network is trained on the whole training split.

    As in the source, the prediction for an image is taken whenever it is in a batch, augmented, and before the update.
    """
    train = work.dataset.train
    history = History.empty(len(train), work.device)

    def look(indices_B: Tensor, logits_BK: Tensor) -> None:
        history.see(indices_B, logits_BK.argmax(1) == train.labels_N[indices_B])

    train_on_whole(work, look, vars(history))
    of_classes = torch.split(history.forgotten(), list(train.counts))
    return coreset(
        work,
        lambda label, count: most_forgotten(of_classes[label], count, work.generator("forgetting-ties", label)),
    )


def most_forgotten(forgotten_N: Tensor, count: int, generator: Generator) -> Tensor:
    """Return the indices of the `count` images with the most events, in descending order; ties in random order."""
    drawn_N = torch.randperm(len(forgotten_N), generator=generator)
    return drawn_N[forgotten_N[drawn_N].argsort(descending=True, stable=True)][:count]
