"""LeNet (LeCun et al., 1998), with max pooling and ReLU as in Section 4.3."""

from torch import Tensor, nn

from dsactl.networks.layers import Size, shrink


class LeNet(nn.Module):
    """conv5×5 6 → max → conv5×5 16 → max → 120 → 84 → K; the first convolution pads one-channel images by 2.

    Args:
        channels, size, classes: C, (H, W) of the images, and K.

    Raises:
        NetworkError: the images are too small.
    """

    def __init__(self, channels: int, size: Size, classes: int) -> None:
        super().__init__()
        padding = 2 if channels == 1 else 0
        size = shrink(size, 5, padding, where="the first convolution")
        size = shrink(size, 2, stride=2, where="the first pooling")
        size = shrink(size, 5, where="the second convolution")
        size = shrink(size, 2, stride=2, where="the second pooling")
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * size[0] * size[1], 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        return self.classifier(self.features(images_NCHW).flatten(1))  # type: ignore[no-any-return]
