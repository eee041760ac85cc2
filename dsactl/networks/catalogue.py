"""The catalogue of networks and their variants. Importing this does not import torch."""

from dataclasses import asdict, dataclass, replace

from dsactl.engine.arguments import check_whole, check_word
from dsactl.errors import UnknownNameError, UsageError

NORMS = ("instance", "batch", "layer", "group", "none")
ACTIVATIONS = ("relu", "sigmoid", "leakyrelu", "swish")
POOLINGS = ("avg", "max", "none")


@dataclass(frozen=True)
class Architecture:
    """An entry of the catalogue.

    Attributes:
        description: one line for the list of networks.
        twin: the same network with instance norm, which evaluates a set made with batch norm; None for networks without
            batch norm.
    """

    description: str
    twin: str | None = None


ARCHITECTURES: dict[str, Architecture] = {
    "convnet": Architecture("the paper's default: blocks of conv 3×3, norm, activation, pooling; takes variants"),
    "mlp": Architecture("two hidden layers of 128"),
    "lenet": Architecture("conv 5×5 6, conv 5×5 16, linear 120, 84"),
    "alexnet": Architecture("five convolutions, 128 to 256 wide, no norm"),
    "vgg11": Architecture("VGG-11, instance norm"),
    "vgg11bn": Architecture("VGG-11, batch norm", twin="vgg11"),
    "resnet18": Architecture("ResNet-18, instance norm"),
    "resnet18bn": Architecture("ResNet-18, batch norm", twin="resnet18"),
    "resnet18bn_ap": Architecture("ResNet-18, batch norm, average pooling for strides", twin="resnet18"),
}


PAPER_ARCHS = ("mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18")
"""Networks of Table 3."""
PAPER_DEPTH = 3
MIN_NORM_SIDE = 4  # pixels


def architectures() -> list[str]:
    """Return the names of all networks, which `NetworkSpec` takes.

    Examples:
        >>> import dsactl
        >>> "resnet18" in dsactl.architectures()
        True
    """
    return list(ARCHITECTURES)


def default_depth(channels: int, size: tuple[int, int], pooling: str = "avg") -> int:
    """Return the ConvNet's default depth: the paper's 3, less if the last norm would see fewer than 4×4 pixels.

    The paper has no such images; this rule is ours. For an 8×8 image, the third block's norm over 2×2 pixels blows up
    the gradients with respect to the image, and condensing diverges.

    Args:
        channels, size: C and (H, W) of the images.
        pooling: without pooling the size does not shrink, and the depth is 3.
    """
    side = min(size) + 2 * first_padding(channels, size) - 2
    if pooling == "none":
        return PAPER_DEPTH
    return next((depth for depth in (3, 2) if side // 2 ** (depth - 1) >= MIN_NORM_SIDE), 1)


def first_padding(channels: int, size: tuple[int, int]) -> int:
    """Return the padding of the ConvNet's first convolution: 3 on one-channel 28×28 images (28 becomes 32), else 1."""
    return 3 if channels == 1 and size == (28, 28) else 1


_MOST_VARIANT = 10**6
"""The largest depth and width; torch counts the weights of wider networks in too few bits."""


@dataclass(frozen=True)
class NetworkSpec:
    """A network without its input and output sizes.

    Attributes:
        arch: a name of `ARCHITECTURES`.
        depth, width, norm, activation, pooling: variants of the ConvNet; None means its default (see `resolve`) and is
            the only value that other networks accept.

    Examples:
        >>> import dsactl
        >>> dsactl.NetworkSpec(norm="batch").resolve(3, (32, 32))
        NetworkSpec(arch='convnet', depth=3, width=128, norm='batch', activation='relu', pooling='avg')
        >>> dsactl.NetworkSpec(depth=2, norm="batch").label(3, (32, 32))
        'convnet-depth2-batch'
    """

    arch: str = "convnet"
    depth: int | None = None
    width: int | None = None
    norm: str | None = None
    activation: str | None = None
    pooling: str | None = None

    def __post_init__(self) -> None:
        for name in ("arch", "norm", "activation", "pooling"):
            if (word := getattr(self, name)) is not None or name == "arch":
                check_word(name, word)
        if self.arch not in ARCHITECTURES:
            raise UnknownNameError("network", self.arch, ARCHITECTURES, "List them: `architectures()`")
        given = [name for name, value in self._variants().items() if value is not None]
        if given and self.arch != "convnet":
            raise UsageError(f"{self.arch} has no variants, and {', '.join(given)} was given.", "Only convnet has.")
        for what, value, known in (
            ("norm", self.norm, NORMS),
            ("activation", self.activation, ACTIVATIONS),
            ("pooling", self.pooling, POOLINGS),
        ):
            if value is not None and value not in known:
                raise UnknownNameError(what, value, known)
        for what, number in (("depth", self.depth), ("width", self.width)):
            if number is not None:
                check_whole(what, number, most=_MOST_VARIANT)
        if self.norm == "group" and (self.width or 128) % 4:
            raise UsageError(f"Group norm needs a width that is a multiple of 4, not {self.width}.")

    def _variants(self) -> dict[str, int | str | None]:
        return {name: value for name, value in asdict(self).items() if name != "arch"}

    def resolve(self, channels: int, size: tuple[int, int]) -> "NetworkSpec":
        """Return the network for images of C `channels` and `size` (H, W), with all defaults filled in."""
        if self.arch != "convnet":
            return self
        pooling = self.pooling or "avg"
        return NetworkSpec(
            "convnet",
            self.depth or default_depth(channels, size, pooling),
            self.width or 128,
            self.norm or "instance",
            self.activation or "relu",
            pooling,
        )

    def label(self, channels: int, size: tuple[int, int]) -> str:
        """Return a label for set names: "convnet", "convnet-depth2-batch", "resnet18".

        It names what differs from the architecture's default for images of this size.
        """
        own, usual = (spec.resolve(channels, size)._variants() for spec in (self, NetworkSpec(self.arch)))
        parts = [self.arch]
        for name, value in own.items():
            if value != usual[name]:
                # "none" alone would not say what is missing.
                parts.append(f"{name}{value}" if isinstance(value, int) or value == "none" else str(value))
        return "-".join(parts)

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network has batch norm layers."""
        return self.norm == "batch" or ARCHITECTURES[self.arch].twin is not None

    @property
    def instance_twin(self) -> "NetworkSpec":
        """The same network with instance norm in place of batch norm; itself if it has none."""
        if self.norm == "batch":
            return replace(self, norm="instance")
        return replace(self, arch=ARCHITECTURES[self.arch].twin or self.arch)
