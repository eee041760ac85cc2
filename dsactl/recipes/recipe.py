"""Recipes: all hyper-parameters of a run, frozen, resolved, and stored with its result. Importing this loads no torch.

A `Request` has what the user specifies; `Request.resolve` fills in the defaults and returns a `Recipe`, which is
complete, so that equal recipes give equal sets.
"""

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError

from dsactl.augmentation.strategy import KINDS, Strategy, default_strategy, parse_strategy
from dsactl.data.catalogue import is_mirrored
from dsactl.data.views import MARK, base_name
from dsactl.errors import DataError, UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import SCHEDULE
from dsactl.recipes.methods import BUILT_IN, WORD, Method, find, protocol_of
from dsactl.recipes.settings import TOP_LEVEL, Asked, Count, FreeSettings, Settings, Value, first_fault

ShortClasses = Literal["refuse", "all", "repeat"]
Kind = TypeVar("Kind", bound=Settings)

_Parsed = Annotated[Strategy, GetPydanticSchema(lambda _, of: of(Annotated[str, AfterValidator(parse_strategy)]))]


@dataclass(frozen=True)
class Relabelled:
    """The teacher of soft labels that a set got in place of its own (`dsactl.synthetic.relabelling`).

    Attributes:
        pool: digest of the pool of experts.
        epoch: of the pool's kept ones.
        teacher: number of the network in the pool, or "mean" for the mean of all networks' probabilities.
        temperature: T of softmax(logits / T).
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    pool: str
    epoch: int
    teacher: int | Literal["mean"]
    temperature: float


@dataclass(frozen=True)
class Recipe:
    """All hyper-parameters of a run; two equal recipes give the same set on one machine.

    Attributes:
        dataset, checksum: the dataset's name and the SHA-256 of its training images and labels.
        method: the name of a method (`dsactl.recipes.methods`); for an imported set any word that `WORD` matches.
        ipc: largest number of images per class.
        seed: the random seed.
        image_shape: (C, H, W) of the images.
        strategy: kinds of augmentation, in condensing (DSA) and when networks are trained on the set.
        network: that the method used; None for a method without one and for an imported set.
        settings: the method's own; empty for an imported set.
        precision: "float32" or "bfloat16".
        short_classes: for classes with fewer than `ipc` training images: "refuse", "all" to take their images once, or
            "repeat" to take them in turn (`dsactl.methods.short_classes`). Left out of manifests if it is "refuse".
        formation: F; each stored image holds F×F images to train on (`dsactl.parametrisation`).
        labels: the teacher of a relabelled set; None for the labels that the method made.
    """

    dataset: str
    checksum: str
    method: str
    ipc: int
    seed: int
    image_shape: tuple[int, int, int]
    strategy: Strategy
    network: NetworkSpec | None = None
    settings: Settings = field(default_factory=Settings)
    precision: Literal["float32", "bfloat16"] = "float32"
    short_classes: ShortClasses = "refuse"
    formation: int = 1
    labels: Relabelled | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: settings and other fields on one level, without values that manifests leave out."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "settings"}
        values |= {"strategy": list(self.strategy), "image_shape": list(self.image_shape)}
        if self.network is None:
            del values["network"]
        else:
            values["network"] = asdict(self.network)
        if self.precision == "float32" and not (self.network and self.settings.states_precision):
            del values["precision"]
        if self.short_classes == "refuse":
            del values["short_classes"]
        if self.formation == 1:
            del values["formation"]
        if self.labels is None:
            del values["labels"]
        else:
            values["labels"] = asdict(self.labels)
        return values | self.settings.to_dict()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Return the recipe from the values of `to_dict`, with all types checked.

        Raises:
            DataError: a field is unknown or of the wrong type, or has a value that this version does not know.
        """
        try:
            read = _adapter(_Stored).validate_python(values)
        except ValidationError as error:
            raise DataError(f"Not a recipe: {first_fault(error)}") from None
        known = set(read.strategy) <= set(KINDS)
        if not WORD.fullmatch(read.method) or not known:
            raise DataError(
                f"Not a recipe: method {read.method!r}, strategy {read.strategy}.",
                "Update dsactl.",
            )
        common = {each.name: getattr(read, each.name) for each in fields(cls) if each.name != "settings"}
        common["strategy"] = Strategy(read.strategy)
        return cls(**common, settings=_settings_of(read, values))

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON: the key of the run's folder."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def settings_as(self, kind: type[Kind]) -> Kind:
        """Return the settings, which are known to be of this class.

        Raises:
            TypeError: they are of another class.
        """
        if not isinstance(self.settings, kind):
            raise TypeError(f"a recipe of method {self.method!r} has no {kind.__name__}")
        return self.settings

    def with_settings(self, **changes: Any) -> "Recipe":
        """Return the recipe with other settings."""
        return replace(self, settings=replace(self.settings, **changes))

    @property
    def steps(self) -> int:
        """The number of steps, of a method that has a setting for it (`Method.steps_setting`)."""
        return int(self.settings.option(find(self.method).steps_setting))

    def with_steps(self, steps: int) -> "Recipe":
        """Return the recipe with another number of steps; see `Settings.with_steps`."""
        return replace(self, settings=self.settings.with_steps(find(self.method).steps_setting, steps))

    @property
    def protocol(self) -> str:
        """The name of the evaluation protocol that the set was made for (`dsactl.training.protocols`)."""
        own = protocol_of(self.method)
        return Method.protocol if own == "dc" and self.strategy else own  # DC with augmentation is evaluated like DSA

    @property
    def options(self) -> dict[str, Value]:
        """The settings that no other method shares, by name."""
        return self.settings.own()

    @property
    def set_name(self) -> str:
        """DATASET-METHOD-ARCH-ipcN-formationF-soft.

        Without ARCH where no network was used, without formation 1, and without soft unless it was relabelled.
        """
        formation = f"formation{self.formation}" if self.formation > 1 else None
        parts = [self.dataset.replace(MARK, "-"), self.method, self.network_label, f"ipc{self.ipc}", formation]
        parts.append("soft" if self.labels else None)
        return "-".join(part for part in parts if part)

    @property
    def network_label(self) -> str | None:
        """The network's label; None without a network."""
        channels, *size = self.image_shape
        return self.network.label(channels, (size[0], size[1])) if self.network else None

    @property
    def decoded(self) -> int:
        """The number of images per class to train on: F²·ipc."""
        return self.formation**2 * self.ipc

    @property
    def is_papers(self) -> bool:
        """Whether all hyper-parameters but the seed are the paper's; of coresets, those that the paper states."""
        if self.method not in BUILT_IN or not find(self.method).in_paper or self.ipc not in SCHEDULE:
            return False
        return self.formation == 1 and self == replace(self.usual(), seed=self.seed)

    def usual(self, mirrored: bool | None = None) -> "Recipe":
        """Return the default recipe for the same dataset, method, network, images per class and formation.

        Args:
            mirrored: whether a mirrored image keeps its class; None to go by the dataset's name.
        """
        arch = self.network.arch if self.network else "convnet"
        request = Request(self.dataset, self.ipc, self.method, arch, formation=self.formation)
        mirrored = is_mirrored(self.dataset) if mirrored is None else mirrored
        return request.resolve(
            self.dataset, self.checksum, self.image_shape, mirrored=mirrored, precision=self.precision
        )


@dataclass(frozen=True)
class _Stored:
    """The fields of a recipe in a manifest, with their types."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    dataset: str
    checksum: str
    method: str
    ipc: int
    seed: int
    image_shape: tuple[int, int, int]
    strategy: tuple[str, ...]
    network: NetworkSpec | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    short_classes: ShortClasses = "refuse"
    formation: Count = 1
    labels: Relabelled | None = None
    iterations: int = 0
    inner_steps: int = 0
    network_epochs: int = 0
    image_lr: float = 0.0
    image_momentum: float = 0.0
    network_lr: float = 0.0
    batch_real: int = 0
    batch_synthetic: int = 0
    batch_train: int = 0
    init: str = "real"
    distance: str = "ours"
    scheme: Literal["", "siamese", "none", "real", "synthetic", "both"] = ""
    options: dict[str, Value] = field(default_factory=dict)


def _settings_of(read: _Stored, values: Mapping[str, Any]) -> Settings:
    """Return a stored recipe's settings; free ones if its method is not installed, or has different settings by now."""
    shared = {name: getattr(read, name) for name in TOP_LEVEL if name in values}
    try:
        method: Method | None = find(read.method)
    except UsageError:  # unknown here, or its package is broken
        method = None
    if method is not None and (read.network is not None) == method.network:
        declared = not issubclass(method.settings, FreeSettings)
        if declared or not shared:
            with contextlib.suppress(ValueError if read.method in BUILT_IN else Exception):  # of another version
                return method.settings.from_values({**shared, **read.options})
    return FreeSettings(free=read.options, shared=shared) if shared or read.options else Settings()


@dataclass(frozen=True)
class Request:
    """A user's request for a set: the keywords of `dsactl.condense`, the keys of a TOML file.

    Values that are missing or None get the default, which may depend on method, network, ipc and dataset.

    Attributes:
        strategy: `parse` takes a text.
        settings: the given settings of the method.
    """

    dataset: str
    ipc: Count
    method: str = "dsa"
    arch: str = "convnet"
    depth: Count | None = None
    width: Count | None = None
    norm: str | None = None
    activation: str | None = None
    pooling: str | None = None
    strategy: _Parsed | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    image_size: Annotated[int, Field(ge=4)] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    short_classes: ShortClasses = "refuse"
    name: str | None = None
    formation: Count = 1
    settings: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: str, ipc: int, **values: Any) -> "Request":
        """Return a request from keywords, including settings of the method; nothing is checked."""
        own = {name: value for name, value in values.items() if name in _REQUEST}
        return cls(dataset, ipc, **own).varied(**{name: value for name, value in values.items() if name not in own})

    @classmethod
    def parse(cls, values: dict[str, Any], others: Iterable[str] = ()) -> "Request":
        """Return a request from options, with types, ranges and names checked.

        Args:
            values: options by name, in which "-" and "_" are the same. Settings of the method are among them, or under
                "options".
            others: names of other arguments of the caller, to suggest for an unknown option.

        Raises:
            UsageError: an option is unknown, does not fit the method, or has a wrong value.
        """
        values = {name.replace("-", "_"): value for name, value in values.items() if value is not None}
        more = values.pop("options", {})
        if not isinstance(more, dict):
            raise UsageError(f"`options` must be a table of names and values, not {more!r}.")
        for name, value in more.items():
            if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float | str):
                raise UsageError(f"`options` must have numbers and words by name, not {name!r}: {value!r}.")
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"The option {name!r} must be a finite number, not {value!r}.")
        for name, value in values.items():
            if isinstance(value, bool):  # pydantic takes it for 0 or 1
                raise UsageError(f"`{name}` must be a number or a word, not {str(value).lower()}.")
        own = {name: value for name, value in values.items() if name in _REQUEST}
        given = {name: value for name, value in values.items() if name not in _REQUEST}
        try:
            request: Request = _adapter(Request).validate_python(own)
        except ValidationError as error:
            raise UsageError(first_fault(error)) from None
        method = find(request.method)
        for name in given:
            if name not in (*setting_names(), *method.settings.names()):
                raise UnknownNameError("option", name, [*_REQUEST, *setting_names(), *others])
        if "arch" in values and not method.network:
            raise UsageError(f"`arch` is not for method {request.method!r}, which uses no network.", "Leave it out.")
        for name in given:
            if name not in method.settings.names():
                raise UsageError(f"`{name}` is not for method {request.method!r}.", "Leave it out.")
        if request.formation > 1 and not method.formation:
            raise UsageError(f"`formation` is not for method {request.method!r}.", "Leave it out.")
        request = replace(request, settings={**given, **more})
        request.method_settings()
        request.network()
        return request

    def varied(self, **settings: Any) -> "Request":
        """Return the request with other settings of the method; None stands for the default."""
        given = {name: value for name, value in {**self.settings, **settings}.items() if value is not None}
        return replace(self, settings=given)

    def network(self) -> NetworkSpec:
        """Return the network to condense on."""
        return NetworkSpec(self.arch, self.depth, self.width, self.norm, self.activation, self.pooling)

    def method_settings(self) -> Settings:
        """Resolve the settings of the method.

        Raises:
            UsageError: one is unknown, or of the wrong type or range.
        """
        asked = Asked(self.method, self.ipc, self.arch, base_name(self.dataset), self.formation)
        return find(self.method).settings.resolve(self.settings, asked, own=self.method not in BUILT_IN)

    def resolve(
        self, dataset: str, checksum: str, image_shape: tuple[int, int, int], *, mirrored: bool, precision: str
    ) -> Recipe:
        """Return the recipe: the request with all defaults filled in.

        Args:
            dataset, checksum, image_shape, mirrored: of the loaded dataset.
            precision: resolved for the device.
        """
        method = find(self.method)
        strategy = self.strategy
        if strategy is None:
            strategy = default_strategy(mirrored=mirrored) if method.augments else Strategy()
        recipe = Recipe(dataset, checksum, self.method, self.ipc, self.seed, image_shape, strategy)
        recipe = replace(
            recipe, settings=self.method_settings(), short_classes=self.short_classes, formation=self.formation
        )
        if not method.network:
            return recipe
        channels, height, width = image_shape
        network = self.network().resolve(channels, (height, width))
        return replace(recipe, network=network, precision="bfloat16" if precision == "bfloat16" else "float32")


_REQUEST = tuple(each.name for each in fields(Request) if each.name != "settings")


@functools.cache
def setting_names() -> list[str]:
    """Return the names of all settings of built-in methods."""
    return list(dict.fromkeys(name for method in BUILT_IN for name in find(method).settings.names()))


# Built on first use: it takes as long as listing some thousand sets.
@functools.cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
