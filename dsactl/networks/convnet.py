"""ConvNet, the paper's default network (Section 4.1; Gidaris and Komodakis, 2018)."""

from torch import Tensor, nn

from dsactl.networks.layers import Activation, Norm, Pooling, Size, activation, normalisation, pooling, shrink

PAPER_DEPTH = 3
SMALLEST_NORMED = 4  # pixels on a side


def default_depth(side: int, *, pool: Pooling = "avg") -> int:
    """The paper's 3, less where the last norm would see fewer than 4×4 pixels; ours.

    A norm over the 2×2 pixels that are left of an 8×8 image in the third block blows up the gradients with respect to
    the image (by 8 in the first step on the digits, and condensing diverged); the second block's sees 4×4.

    Args:
        side: the shorter one after the first convolution.
        pool: no pooling, no shrinking.
    """
    if pool == "none":
        return PAPER_DEPTH
    return next((depth for depth in (3, 2) if side // 2 ** (depth - 1) >= SMALLEST_NORMED), 1)


class ConvNet(nn.Module):
    """`depth` blocks of 3×3 convolution → norm → activation → 2×2 pooling, then one linear layer.

    On one-channel 28×28 images the first convolution pads by 3, so that 28 becomes 32.

    Args:
        channels: C of the images.
        size: height and width of the images.
        classes: K.
        depth: blocks; see `default_depth` if not given.
        width: filters in each.
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
        depth: int | None = None,
        width: int = 128,
        norm: Norm = "instance",
        act: Activation = "relu",
        pool: Pooling = "avg",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        incoming = channels
        first_padding = 3 if channels == 1 and size == (28, 28) else 1
        if depth is None:
            depth = default_depth(min(size) + 2 * first_padding - 2, pool=pool)
        for block in range(1, depth + 1):
            padding = first_padding if block == 1 else 1
            size = shrink(size, 3, padding, where=f"the convolution of block {block}")
            layers.append(nn.Conv2d(incoming, width, 3, padding=padding))
            layers += normalisation(norm, width, size, where=f"the norm of block {block}")
            layers.append(activation(act))
            if pool != "none":
                size = shrink(size, 2, stride=2, where=f"the pooling of block {block}")
                layers += pooling(pool)
            incoming = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * size[0] * size[1], classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits, N×K."""
        return self.classifier(self.features(images_NCHW).flatten(1))  # type: ignore[no-any-return]
