"""ConvNet, the paper's default network (Section 4.1; Gidaris and Komodakis, 2018)."""

from torch import Tensor, nn

from dsactl.networks.catalogue import first_padding
from dsactl.networks.layers import Activation, Norm, Pooling, Size, activation, normalisation, pooling, shrink


class ConvNet(nn.Module):
    """`depth` blocks of 3×3 convolution → norm → activation → 2×2 pooling, then one linear layer.

    On one-channel 28×28 images the first convolution pads by 3, so that 28 becomes 32.

    Args:
        channels: C of the images.
        size: height and width of the images.
        classes: K.
        depth, width: number of blocks, and of filters in each.
        norm, act, pool: see `layers`.

    Raises:
        NetworkError: the images are too small for the depth.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        classes: int,
        *,
        depth: int,
        width: int,
        norm: Norm,
        act: Activation,
        pool: Pooling,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        incoming = channels
        padding = first_padding(channels, size)
        for block in range(1, depth + 1):
            size = shrink(size, 3, padding, where=f"the convolution of block {block}")
            layers.append(nn.Conv2d(incoming, width, 3, padding=padding))
            layers += normalisation(norm, width, size, where=f"the norm of block {block}")
            layers.append(activation(act))
            if pool != "none":
                size = shrink(size, 2, stride=2, where=f"the pooling of block {block}")
                layers += pooling(pool)
            incoming, padding = width, 1
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * size[0] * size[1], classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        return self.classifier(self.features(images_NCHW).flatten(1))  # type: ignore[no-any-return]
