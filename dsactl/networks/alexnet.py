"""AlexNet (Krizhevsky et al., 2012) in the small form of Section 4.3."""

from torch import Tensor, nn

from dsactl.networks.layers import Size, shrink


class AlexNet(nn.Module):
    """Five convolutions with ReLU, max pooling after the first, second and fifth, one linear layer, no norm.

    The first convolution pads one-channel images by 4, others by 2.

    Args:
        channels, size, classes: C, (H, W) of the images, and K.

    Raises:
        NetworkError: the images are too small.
    """

    def __init__(self, channels: int, size: Size, classes: int) -> None:
        super().__init__()
        padding = 4 if channels == 1 else 2
        size = shrink(size, 5, padding, where="the first convolution")
        for name in ("first", "second", "third"):
            size = shrink(size, 2, stride=2, where=f"the {name} pooling")
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 192, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(192 * size[0] * size[1], classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        return self.classifier(self.features(images_NCHW).flatten(1))  # type: ignore[no-any-return]
