"""ResNet-18 (He et al., 2016) for small images: a 3×3 stem, no first pooling (Section 4.3)."""

from torch import Tensor, nn

from dsactl.networks.layers import Norm, Size, normalisation, shrink


class _BasicBlock(nn.Module):
    """Two 3×3 convolutions with norm, and a shortcut that is projected if the shape changes.

    `average` puts a 2×2 average pooling after a convolution of stride 1 in place of a stride of 2.
    """

    def __init__(self, incoming: int, width: int, size: Size, stride: int, norm: Norm, average: bool, name: str):
        super().__init__()
        step = 1 if average else stride
        halve: list[nn.Module] = [nn.AvgPool2d(2)] if average and stride == 2 else []
        inner = shrink(size, 3, 1, step, where=f"the first convolution of {name}")
        out = shrink(inner, 2, stride=2, where=f"the pooling of {name}") if halve else inner
        self.size = out
        self.residual = nn.Sequential(
            nn.Conv2d(incoming, width, 3, stride=step, padding=1, bias=False),
            *normalisation(norm, width, inner, where=f"the first norm of {name}"),
            nn.ReLU(),
            *halve,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            *normalisation(norm, width, out, where=f"the second norm of {name}"),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or incoming != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(incoming, width, 1, stride=step, bias=False),
                *halve,
                *normalisation(norm, width, out, where=f"the shortcut's norm of {name}"),
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(x_NCHW) + self.shortcut(x_NCHW))


class ResNet18(nn.Module):
    """[2, 2, 2, 2] basic blocks of 64, 128, 256, 512 channels, 4×4 average pooling, one linear layer.

    Args:
        channels, size, classes: C, (H, W) of the images, and K.
        norm: "instance", or "batch" for ResNet18BN.
        average: ResNet18BN_AP: every stride of 2 is a stride of 1 followed by 2×2 average pooling, and the linear
            layer reads the whole last map.

    Raises:
        NetworkError: the images are too small.
    """

    def __init__(
        self, channels: int, size: Size, classes: int, *, norm: Norm = "instance", average: bool = False
    ) -> None:
        super().__init__()
        size = shrink(size, 3, 1, where="the stem")
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            *normalisation(norm, 64, size, where="the stem's norm"),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        incoming = 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            for index in range(2):
                stride = 2 if stage > 1 and index == 0 else 1
                block = _BasicBlock(incoming, width, size, stride, norm, average, f"block {stage}.{index + 1}")
                blocks.append(block)
                incoming, size = width, block.size
        self.blocks = nn.Sequential(*blocks)
        if average:
            self.pool: nn.Module = nn.Identity()
        else:
            size = shrink(size, 4, stride=4, where="the last pooling")
            self.pool = nn.AvgPool2d(4)
        self.classifier = nn.Linear(512 * size[0] * size[1], classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return the logits, N×K."""
        features_NCHW = self.pool(self.blocks(self.stem(images_NCHW)))
        return self.classifier(features_NCHW.flatten(1))  # type: ignore[no-any-return]
