"""The names of the networks and of their variants. Importing this does not import torch."""

from dataclasses import asdict, dataclass

from dsactl.errors import UnknownNameError, UsageError

NORMS = ("instance", "batch", "layer", "group", "none")
ACTIVATIONS = ("relu", "sigmoid", "leakyrelu", "swish")
POOLINGS = ("avg", "max", "none")


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalogue.

    Attributes:
        description: one line for `dsactl archs`.
        twin: the same network with instance norm, on which a set made with batch norm is evaluated; None where the
            network has no batch norm.
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


@dataclass(frozen=True)
class NetworkSpec:
    """A network without its input and output sizes: everything that names it.

    Attributes:
        arch: a name of `ARCHITECTURES`.
        depth, width, norm, activation, pooling: variants of the ConvNet; None stands for its default (3, or 2 on
            images below 16×16 and 1 below 8×8; 128; instance; relu; avg) and is the only value that other networks
            take.
    """

    arch: str = "convnet"
    depth: int | None = None
    width: int | None = None
    norm: str | None = None
    activation: str | None = None
    pooling: str | None = None

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise UnknownNameError("network", self.arch, ARCHITECTURES, "List them with: dsactl archs")
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
            if number is not None and number < 1:
                raise UsageError(f"The {what} of a network must be at least 1, not {number}.")
        if self.norm == "group" and (self.width or 128) % 4:
            raise UsageError(f"Group norm needs a width that 4 divides, not {self.width}.")

    def _variants(self) -> dict[str, int | str | None]:
        return {name: value for name, value in asdict(self).items() if name != "arch"}

    @property
    def label(self) -> str:
        """A name that can stand in a set's name: "convnet", "convnet-depth2-batch", "resnet18"."""
        parts = [self.arch]
        for name, value in self._variants().items():
            if value is not None:
                # "none" alone would not say what is missing.
                parts.append(f"{name}{value}" if isinstance(value, int) or value == "none" else str(value))
        return "-".join(parts)

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network has batch norm layers."""
        return self.norm == "batch" or ARCHITECTURES[self.arch].twin is not None

    @property
    def instance_twin(self) -> "NetworkSpec":
        """The same network with instance norm in place of batch norm; itself where it has none."""
        if self.norm == "batch":
            return NetworkSpec(**{**asdict(self), "norm": None})
        return NetworkSpec(**{**asdict(self), "arch": ARCHITECTURES[self.arch].twin or self.arch})
