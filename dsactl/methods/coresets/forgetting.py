"""Forgetting: real images that a network in training forgets most often (Toneva et al., 2019; Section 4.2).

Shapes: N images of the training split, or of a class; B of a batch, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dsactl.methods.coresets.reference_network import train_on_whole
from dsactl.methods.coresets.selection import coreset
from dsactl.methods.work import Made, Work

NEVER_LEARNED = torch.iinfo(torch.int32).max
"""Counts as more events than any image has."""


@dataclass(frozen=True)
class History:
    """What is remembered of each image while a network is trained; changed in place.

    Attributes:
        right_N: whether its last answer was right; False before the first.
        learned_N: whether any answer was right.
        events_N: how often a wrong answer followed a right one, int32.
    """

    right_N: Tensor
    learned_N: Tensor
    events_N: Tensor

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "History":
        """Of `count` images that were not seen yet."""
        right_N, learned_N = torch.zeros(2, count, dtype=torch.bool, device=device).unbind()
        return cls(right_N, learned_N, torch.zeros(count, dtype=torch.int32, device=device))

    def see(self, places_B: Tensor, right_B: Tensor) -> None:
        """The answers to a batch of different images."""
        self.events_N[places_B] += self.right_N[places_B] & ~right_B
        self.learned_N[places_B] |= right_B
        self.right_N[places_B] = right_B

    def forgotten(self) -> Tensor:
        """Events of each image, N on the CPU; `NEVER_LEARNED` for one that never was right."""
        return self.events_N.masked_fill(~self.learned_N, NEVER_LEARNED).cpu()


def forgetting(work: Work) -> Made:
    """`ipc` images of every class by `most_forgotten`, in the training of a network on the whole set.

    As in the source, an image's answer is looked at whenever it is in a batch, augmented as it is there, and before the
    update.
    """
    train, ipc = work.dataset.train, work.recipe.ipc
    history = History.empty(len(train), work.device)

    def look(places_B: Tensor, logits_BK: Tensor) -> None:
        history.see(places_B, logits_BK.argmax(1) == train.labels_N[places_B])

    train_on_whole(work, look, vars(history))
    of_classes = torch.split(history.forgotten(), list(train.counts))
    return coreset(work, lambda label: most_forgotten(of_classes[label], ipc, work.generator("forgetting-ties", label)))


def most_forgotten(forgotten_N: Tensor, count: int, generator: Generator) -> Tensor:
    """The places of the `count` images with the most events, those first; equals in an order that is drawn."""
    drawn_N = torch.randperm(len(forgotten_N), generator=generator)
    return drawn_N[forgotten_N[drawn_N].argsort(descending=True, stable=True)][:count]
