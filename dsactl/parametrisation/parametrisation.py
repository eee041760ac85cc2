"""The interface of parametrisations: what is stored, and the images that objectives and networks see."""

from abc import ABC, abstractmethod

from torch import Tensor


class Parametrisation(ABC):
    """A way to store images. Objectives see decoded images; gradients reach the stored ones through `decode`.

    Attributes:
        count: number of decoded images per stored one.
    """

    count: int

    @abstractmethod
    def decode(self, images_NCHW: Tensor) -> Tensor:
        """Return the images to train on, differentiable: count·N×C×H×W, those of the first stored image first.

        Args:
            images_NCHW: stored images.
        """

    @abstractmethod
    def encode(self, images_NCHW: Tensor) -> Tensor:
        """Return stored images that decode to approximations of given ones.

        Args:
            images_NCHW: count·N images, in the order of `decode`.
        """

    def decode_labels(self, labels: Tensor) -> Tensor:
        """Return the labels of the decoded images.

        Args:
            labels: of the stored images, N classes or N×K soft labels.
        """
        return labels if self.count == 1 else labels.repeat_interleave(self.count, dim=0)


class Pixels(Parametrisation):
    """Images that are stored as they are."""

    count = 1

    def decode(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW

    def encode(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW
