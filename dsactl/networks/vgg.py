"""VGG-11 (Simonyan and Zisserman, 2014) for small images (Section 4.3)."""

from torch import Tensor, nn

from dsactl.networks.layers import Norm, Size, normalisation, shrink

_PLAN: tuple[int | None, ...] = (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None)


class VGG11(nn.Module):
    """Eight 3×3 convolutions, each with norm and ReLU, five max poolings (None in the plan), one linear layer.

    The first convolution pads one-channel images by 3, every other by 1.

    Args:
        channels, size, classes: C, (H, W) of the images, and K.
        norm: "instance", or "batch" for VGG11BN.

    Raises:
        NetworkError: the images are too small.
    """

    def __init__(self, channels: int, size: Size, classes: int, *, norm: Norm = "instance") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        incoming = channels
        for index, width in enumerate(_PLAN):
            if width is None:
                size = shrink(size, 2, stride=2, where=f"layer {index + 1} (pooling)")
                layers.append(nn.MaxPool2d(2))
                continue
            padding = 3 if index == 0 and channels == 1 else 1
            size = shrink(size, 3, padding, where=f"layer {index + 1} (convolution)")
            layers.append(nn.Conv2d(incoming, width, 3, padding=padding))
            layers += normalisation(norm, width, size, where=f"layer {index + 1} (norm)")
            layers.append(nn.ReLU())
            incoming = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(incoming * size[0] * size[1], classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        return self.classifier(self.features(images_NCHW).flatten(1))  # type: ignore[no-any-return]
