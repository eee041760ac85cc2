"""Timing of an evaluation: one network trained by the usual protocol, and tested."""

from dataclasses import dataclass, replace

import torch

from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.session import Session
from dsactl.evaluation.evaluate import evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.paper import EPOCHS_AUGMENTED
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.synthetic_set import SyntheticSet

EPOCHS, CUDA_EPOCHS = 10, 200  # of the shorter evaluation that is timed


@dataclass(frozen=True)
class Lengths:
    """The lengths of the evaluations that are timed and scaled up to a full one.

    Attributes:
        epochs: of the shorter training; the longer one has three times as many.
        tests: number of images of the shorter and of the longer test.
    """

    epochs: int
    tests: tuple[int, int]

    @classmethod
    def fitting(cls, test_images: int, *, epochs: float, tests: float, cuda: bool) -> "Lengths":
        """Return the longest that fit into the time.

        Args:
            test_images: of a full test.
            epochs, tests: number of epochs, and of test images, that fit into the time in total.
            cuda: whether networks are trained on a GPU, where the first epochs are slower.
        """
        # Trainings: 2 epochs of warm-up, then 1 part, 3 parts and 1 part. Tests: three short ones and a long one.
        most = CUDA_EPOCHS if cuda else EPOCHS
        longer = max(2, min(test_images, int(tests * 4 / 7)))
        return cls(max(1, min(most, int((epochs - 2) / 5))), (longer // 4 or 1, longer))

    def in_words(self, test_images: int) -> str:
        """Describe them: "10 and 30 of 1000 epochs, and 2,500 and 10,000 of 10,000 test images"."""
        shorter, longer = (f"{count:,}" for count in self.tests)
        epochs = f"{self.epochs} and {3 * self.epochs} of {EPOCHS_AUGMENTED} epochs"
        return f"{epochs}, and {shorter} and {longer} of {test_images:,} test images"


def evaluation_seconds(
    dataset: Dataset, recipe: Recipe, device: torch.device, lengths: Lengths, networks: int
) -> float:
    """Estimate the seconds of one network by the full protocol, from trainings and tests of two lengths each."""
    images_NCHW = initial_images(dataset, recipe, "real").flatten(0, 1).cpu()
    labels_N = dataset.labels(recipe.ipc).cpu()
    made = replace(recipe, checksum=dataset.train.checksum())
    synthetic = SyntheticSet(
        images_NCHW, labels_N, dataset.class_names, dataset.mean, dataset.std, made, "bench", "bench"
    )

    def seconds(epochs: int, tests: int) -> float:
        test = ImageSet.from_tensors(dataset.test.images_NCHW[:tests], dataset.test.labels_N[:tests], dataset.classes)
        protocol = Protocol(networks=networks, epochs=epochs, precision=recipe.precision, name="dsa")
        return evaluate(synthetic, replace(dataset, test=test), protocol, Session.open(device)).seconds

    epochs, (few, more) = lengths.epochs, lengths.tests
    seconds(2, few)
    short, longer, tested = seconds(epochs, few), seconds(3 * epochs, few), seconds(epochs, more)
    an_epoch, a_test = max(0.0, longer - short) / (2 * epochs), max(0.0, tested - short) / (more - few)
    return (short + an_epoch * (EPOCHS_AUGMENTED - epochs) + a_test * (len(dataset.test) - few)) / networks
