"""Recipes of pools of experts: everything that decides the networks' weights. Importing this loads no torch.

The defaults are those of DANCE's program (Zhang et al., IJCAI 2024), which trains its experts as IDC's program trains
networks.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dsactl.augmentation.strategy import KINDS, Strategy, parse_strategy
from dsactl.data.views import MARK
from dsactl.engine.words import check_precision
from dsactl.errors import DataError, UnknownKeywordError, UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.settings import Count, Rate, first_fault
from dsactl.training.schedule import Schedule
from registry.manifest import canonical

DECAY_AT, DECAY_BY = ((2, 3), (5, 6)), 5.0
"""Parts of the epochs after which lr is divided, as numerators and denominators; and what it is divided by."""

_Epochs = tuple[Annotated[int, Field(ge=0)], ...]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class PoolRequest:
    """A user's request for a pool of experts: the keywords of `dsactl.experts`.

    Attributes:
        network: the network to train.
        networks: number of networks. Default: 5, as many as DANCE uses.
        epochs: of training. Default: 60, DANCE's.
        keep: epochs after which each network is kept; 0 for its initial weights. None for 0 and the last, as in DANCE.
        batch, lr, momentum, weight_decay: of SGD. Default: 64, 0.01, 0.9 and 0.0005, DANCE's.
        strategy: augmentations of a batch, with parameters for each image; flip and color are applied to every batch,
            and one of crop, scale and rotate. Default: "color_crop", DANCE's.
        cutmix: probability of CutMix, for each batch. Default: 0.5, DANCE's.
        seed: the random seed. Default: 0, ours.
        precision: "auto", "float32" or "bfloat16". Default: "auto", ours.
    """

    network: NetworkSpec = field(default_factory=NetworkSpec)
    networks: Count = 5
    epochs: Count = 60
    keep: _Epochs | None = None
    batch: Count = 64
    lr: Rate = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    strategy: str = "color_crop"
    cutmix: _Share = 0.5
    seed: _Seed = 0
    precision: str = "auto"

    @classmethod
    def parse(cls, values: Mapping[str, Any], others: Iterable[str] = ()) -> "PoolRequest":
        """Return a request from keywords, with names, types and ranges checked.

        Args:
            values: by name; None for a default.
            others: names of other arguments of the caller, to suggest for an unknown keyword.

        Raises:
            UsageError: a keyword is unknown, or has a wrong value.
        """
        known = [each.name for each in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownKeywordError("keyword", name, [*known, *others])
        try:
            request: PoolRequest = _adapter(PoolRequest).validate_python(
                {name: value for name, value in values.items() if value is not None}
            )
        except ValidationError as error:
            raise UsageError(first_fault(error)) from None
        parse_strategy(request.strategy)
        check_precision(request.precision)
        request.kept()
        return request

    def kept(self) -> tuple[int, ...]:
        """Return the epochs after which each network is kept, ascending.

        Raises:
            UsageError: there is none, or one is after the last.
        """
        if self.keep is None:
            return (0, self.epochs)
        kept = tuple(sorted(set(self.keep)))
        if not kept or kept[-1] > self.epochs:
            which = f"epoch {kept[-1]}" if kept else "no epoch"
            raise UsageError(f"`keep` names {which}; there are {self.epochs}.", f"Use `keep=(0, {self.epochs})`.")
        return kept

    def resolve(
        self, dataset: str, checksum: str, image_shape: tuple[int, int, int], precision: Literal["float32", "bfloat16"]
    ) -> "PoolRecipe":
        """Return the recipe for a dataset.

        Args:
            dataset, checksum: its name, and the SHA-256 of its training images and labels.
            image_shape: (C, H, W) of the images.
            precision: resolved for the device.
        """
        channels, height, width = image_shape
        at = (self.epochs * part // whole for part, whole in DECAY_AT)
        return PoolRecipe(
            dataset=dataset,
            checksum=checksum,
            image_shape=image_shape,
            network=self.network.resolve(channels, (height, width)),
            networks=self.networks,
            epochs=self.epochs,
            keep=self.kept(),
            batch=self.batch,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            decay_at=tuple(each for each in at if each),
            decay_by=DECAY_BY,
            strategy=parse_strategy(self.strategy),
            cutmix=self.cutmix,
            seed=self.seed,
            precision=precision,
        )


@dataclass(frozen=True, kw_only=True)
class PoolRecipe:
    """All hyper-parameters of a pool; two equal recipes give the same pool on one machine.

    Attributes:
        dataset, checksum: the dataset's name, and the SHA-256 of its training images and labels.
        image_shape: (C, H, W) of the images.
        network: resolved.
        decay_at, decay_by: epochs before which lr is divided, and by what; the momentum is kept.
        networks, epochs, keep, batch, lr, momentum, weight_decay, strategy, cutmix, seed, precision: see `PoolRequest`.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    dataset: str
    checksum: str
    image_shape: tuple[int, int, int]
    network: NetworkSpec
    networks: Count
    epochs: Count
    keep: _Epochs
    batch: Count
    lr: Rate
    momentum: float
    weight_decay: float
    decay_at: _Epochs
    decay_by: Rate
    strategy: tuple[str, ...]
    cutmix: _Share
    seed: _Seed
    precision: Literal["float32", "bfloat16"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as a manifest has them."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PoolRecipe":
        """Return the recipe from the values of `to_dict`, with all types checked.

        Raises:
            DataError: a field is unknown, missing, or of the wrong type or range.
        """
        try:
            read: PoolRecipe = _adapter(PoolRecipe).validate_python(dict(values))
        except ValidationError as error:
            raise DataError(f"Not a recipe of experts: {first_fault(error)}") from None
        if not set(read.strategy) <= set(KINDS):
            raise DataError(f"Not a recipe of experts: strategy {read.strategy}.", "Update dsactl.")
        return read

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON: the key of the run's folder."""
        return hashlib.sha256(canonical(self.to_dict())).hexdigest()

    @property
    def augmentations(self) -> Strategy:
        """The kinds of augmentation."""
        return Strategy(self.strategy)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the learning rate."""
        return Schedule(self.decay_at, self.decay_by, resets_momentum=False)

    @property
    def network_label(self) -> str:
        """The network's label."""
        channels, height, width = self.image_shape
        return self.network.label(channels, (height, width))

    @property
    def pool_name(self) -> str:
        """DATASET-experts-ARCH."""
        return f"{self.dataset.replace(MARK, '-')}-experts-{self.network_label}"


def parse_keep(text: str) -> tuple[int, ...]:
    """Parse epochs that are separated by commas.

    Raises:
        UsageError: they are not whole numbers.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"`keep` must be epochs like 0,20,60, not {text!r}.")
    return tuple(map(int, words))


# Built on first use, since it takes long.
@functools.cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
