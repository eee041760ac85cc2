"""Recipes: every hyper-parameter of a run, frozen, resolved, stored with its result. No torch here.

A `Request` is what a user asks for, with None where the default is to be taken; `Request.resolve` turns it into a
`Recipe`, in which nothing is left open, so that equal recipes give equal sets.
"""

import functools
import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dsactl.augmentation.strategy import KINDS, SCHEMES, SIAMESE, Strategy, default_strategy, parse_strategy
from dsactl.data.catalogue import is_mirrored
from dsactl.data.views import MARK
from dsactl.errors import DataError, UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import ALGORITHM_1, WORD, Value, find
from dsactl.recipes.schedule import PAPER, loops

PAPER_METHODS = (*ALGORITHM_1, "random", "herding", "forgetting")
"""The methods whose settings here are the paper's, where it has any; those of DD and LD are ours."""

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Recipe:
    """All hyper-parameters of a run; two equal recipes give the same set on one machine.

    Attributes:
        dataset, checksum: the data set's name and the SHA-256 of its training images and labels.
        method: "dsa" or "dc" (Algorithm 1 with and without augmentation), another of `methods.catalogue`, or for an
            imported set any word.
        ipc: images per class, at most.
        seed: the root of every draw.
        image_shape: (C, H, W) of the images.
        strategy: kinds of augmentation, in condensing (DSA) and when networks are trained on the set.
        network: that the method used; None for a method without one and for an imported set. What follows is of
            Algorithm 1, and of those other methods that take it.
        iterations, inner_steps, network_epochs: K, T and ς_θ of Algorithm 1.
        image_lr, image_momentum: η_S and its momentum.
        network_lr: η_θ.
        batch_real, batch_synthetic: images per class in a matching step, at most.
        batch_train: images per step of the network's training.
        init: "real" images or "noise".
        distance: "ours", "mse" or "cos".
        precision: "float32" or "bfloat16".
        scheme: which batches are augmented while condensing, a key of `dsa.strategy.SCHEMES`.
        options: the method's own, by name.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    dataset: str
    checksum: str
    method: str
    ipc: int
    seed: int
    image_shape: tuple[int, int, int]
    strategy: Strategy
    network: NetworkSpec | None = None
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
    precision: str = "float32"
    scheme: str = SIAMESE
    options: dict[str, Value] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: every field that Algorithm 1 has; of other methods' recipes those that they use."""
        values = asdict(self)
        values["strategy"], values["image_shape"] = list(self.strategy), list(self.image_shape)
        unused = () if self.method in ALGORITHM_1 and self.network else _SETTINGS
        return {
            name: value
            for name, value in values.items()
            if not (name in (*unused, "scheme", "options") and value == _USUAL[name])
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`, with every type checked.

        Raises:
            DataError: a field is unknown, of the wrong type, or names what this version does not know.
        """
        try:
            recipe = _recipe_adapter().validate_python(values)
        except ValidationError as error:
            raise DataError(f"Not a recipe: {_first_fault(error)}") from None
        known = set(recipe.strategy) <= set(KINDS) and recipe.scheme in SCHEMES
        if not WORD.fullmatch(recipe.method) or not known:
            raise DataError(
                f"Not a recipe: method {recipe.method!r}, strategy {recipe.strategy}, scheme {recipe.scheme!r}.",
                "Update dsactl.",
            )
        return recipe

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the key of the run's folder."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def set_name(self) -> str:
        """DATASET-METHOD-ARCH-ipcN, without ARCH where no network was used."""
        parts = [self.dataset.replace(MARK, "-"), self.method, self.network_label, f"ipc{self.ipc}"]
        return "-".join(part for part in parts if part)

    @property
    def network_label(self) -> str | None:
        """What the network is called; None without one."""
        channels, *size = self.image_shape
        return self.network.label(channels, (size[0], size[1])) if self.network else None

    @property
    def inner_strategy(self) -> Strategy:
        """With which Algorithm 1 trains its networks: theirs are augmented wherever the matching augments the set."""
        return self.strategy if SCHEMES[self.scheme].synthetic else ()

    @property
    def is_papers(self) -> bool:
        """Whether every hyper-parameter but the seed is the paper's, or the paper does not say: of coresets."""
        if self.method not in PAPER_METHODS:
            return False
        request = Request(self.dataset, self.ipc, self.method, self.network.arch if self.network else "convnet")
        usual = request.resolve(
            self.dataset,
            self.checksum,
            self.image_shape,
            mirrored=is_mirrored(self.dataset),
            precision=self.precision,
        )
        return self.ipc in PAPER and self == replace(usual, seed=self.seed)


@dataclass(frozen=True)
class Request:
    """What a user asks to be condensed: the options of `dsactl condense`, the keys of its TOML file.

    None stands for the default of the paper, which may depend on method, network, ipc and data set (see `resolve`).
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
    iterations: Count | None = None
    inner_steps: Count | None = None
    network_epochs: Count | None = None
    image_lr: Rate | None = None
    image_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    network_lr: Rate | None = None
    batch_real: Count | None = None
    batch_synthetic: Count | None = None
    batch_train: Count | None = None
    init: Literal["real", "noise"] | None = None
    strategy: str | None = None
    distance: Literal["ours", "mse", "cos"] | None = None
    scheme: str | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    image_size: Annotated[int, Field(ge=4)] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    name: str | None = None
    options: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Request":
        """Check types, ranges and names.

        Args:
            values: options by name; "-" and "_" are the same in a name.

        Raises:
            UsageError: names the option, what is wrong with it, and the nearest known one.
        """
        values = {name.replace("-", "_"): value for name, value in values.items()}
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise UnknownNameError("option", name, known)
        try:
            request: Request = _request_adapter().validate_python(values)
        except ValidationError as error:
            raise UsageError(_first_fault(error)) from None
        method = find(request.method)
        if "arch" in values and not method.network:
            raise UsageError(f"--arch is not for --method {request.method}, which has no network.", "Leave it out.")
        method.parse_options(request.options, request.method)
        taken = method.settings if request.method not in ALGORITHM_1 else _SETTINGS
        for name in _SETTINGS:
            if name in _GIVEN and getattr(request, name) is not None and name not in taken:
                raise UsageError(f"--{name.replace('_', '-')} is not for --method {request.method}.", "Leave it out.")
        request.network()
        if request.scheme not in (None, *SCHEMES):
            raise UnknownNameError("scheme", str(request.scheme), SCHEMES)
        if request.strategy is not None:
            parse_strategy(request.strategy)
        return request

    def network(self) -> NetworkSpec:
        """The network to condense on."""
        return NetworkSpec(self.arch, self.depth, self.width, self.norm, self.activation, self.pooling)

    def resolve(
        self, dataset: str, checksum: str, image_shape: tuple[int, int, int], *, mirrored: bool, precision: str
    ) -> Recipe:
        """Fill in what was left open.

        Args:
            dataset, checksum, image_shape, mirrored: of the data set that was loaded.
            precision: resolved for the device.
        """
        strategy = default_strategy(mirrored=mirrored) if self.strategy is None else parse_strategy(self.strategy)
        method = find(self.method)
        common = Recipe(dataset, checksum, self.method, self.ipc, self.seed, image_shape, strategy)
        common = replace(common, options=method.parse_options(self.options, self.method))
        if method.network:
            channels, height, width = image_shape
            common = replace(common, network=self.network().resolve(channels, (height, width)), precision=precision)
        if self.method not in ALGORITHM_1:
            given = {name: getattr(self, name) for name in method.settings}
            usual: dict[str, Any] = dict(method.settings)
            return replace(common, **{name: usual[name] if value is None else value for name, value in given.items()})
        steps, epochs = loops(self.ipc, self.inner_steps)
        usual = {
            "iterations": 1000,
            "network_epochs": epochs,
            "image_lr": 0.01 if self.arch == "mlp" else 0.1,
            "image_momentum": 0.5,
            "network_lr": 0.01,
            "batch_real": 256,
            "batch_synthetic": 256,
            "batch_train": 256,
            "init": "noise" if self.method == "dc" else "real",
            "distance": "ours",
            "scheme": SIAMESE,
        }
        given = {name: getattr(self, name) for name in usual}
        return replace(
            common,
            strategy=() if self.method == "dc" and self.strategy is None else strategy,
            inner_steps=steps,
            **{name: usual[name] if value is None else value for name, value in given.items()},
        )


_USUAL = {each.name: each.default for each in fields(Recipe)} | {"options": {}}
_SETTINGS = tuple(each.name for each in fields(Recipe) if each.default is not MISSING)
"""What Algorithm 1 has in a recipe, and other methods have only where they use it."""
_GIVEN = tuple(each.name for each in fields(Request) if each.default is None)


def _first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found, as one line with the option's name."""
    fault = error.errors()[0]
    where = "--" + "-".join(str(part) for part in fault["loc"]).replace("_", "-")
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {fault['input']!r}."


# Made when first needed: it takes as long as listing some thousand sets.
@functools.cache
def _recipe_adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)


@functools.cache
def _request_adapter() -> TypeAdapter[Request]:
    return TypeAdapter(Request)
