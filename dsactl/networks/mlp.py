"""MLP with two hidden layers of 128 units (Section 4.3)."""

from torch import Tensor, nn

from dsactl.networks.layers import Size


class MLP(nn.Module):
    """Linear 128 → ReLU → linear 128 → ReLU → linear.

    Args:
        channels, size, classes: C, (H, W) of the images, and K.
    """

    def __init__(self, channels: int, size: Size, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size[0] * size[1], 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        return self.layers(images_NCHW)  # type: ignore[no-any-return]
