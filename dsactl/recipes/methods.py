"""The methods that `condense` knows: those of the program, and those of other packages. Importing this loads no torch.

A package adds a method with an entry point in the group `dsactl.methods`, which names a function from `Work` to `Made`
(docs/methods.md has a whole example). Whatever is wrong with one is said when that one is used, and never before.
"""

import contextlib
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsactl.errors import UnknownNameError, UsageError
from registry.names import is_part

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "dsactl.methods"
WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
"""What a method's name looks like: it is a part of its sets' names."""
IMPORTED = "imported"
"""What recipes call the method of a set that another program made, where nobody says how."""
WHOLE = "whole"
"""The same of a whole training split, which is no set but is evaluated like one."""

Value = int | float | str


@dataclass(frozen=True)
class Method:
    """What is known about a method before it runs.

    Attributes:
        description: a line.
        home: "module:function"; empty for methods of other packages.
        check: the same for a function that refuses a recipe which the method cannot make; empty for none.
        network: whether it uses a network, which is then part of the recipe.
        settings: options of `condense` that it takes, beside those that every method takes, with its defaults.
        options: its own, given by `--option NAME=VALUE`, with their defaults, whose types hold.
        any_option: whether it takes whatever option is given.
        passes: whether each of its steps is a pass over the whole training split.
        shares_classes: whether several processes may share the classes of one set.
        cost: the module whose `operations` and `seconds` tell what a run costs; empty to count and time its steps.
        paper: the arXiv number of the paper that it is from; empty where there is none.
        function: of another package: what its entry point names; None for those of the program.
    """

    description: str
    home: str = ""
    check: str = ""
    network: bool = False
    settings: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    any_option: bool = False
    passes: bool = False
    shares_classes: bool = False
    cost: str = ""
    paper: str = ""
    function: Callable[..., Any] | None = None

    def load(self) -> Callable[..., Any]:
        """The function that makes the set, from `Work` to `Made`."""
        return _load(self.home) if self.function is None else self.function

    def load_cost(self) -> Any:
        """The module that tells what a run costs."""
        return import_module(self.cost)

    def refuse(self, recipe: object) -> None:
        """Refuse a recipe that the method cannot make.

        Raises:
            UsageError: says what to change.
        """
        if self.check:
            _load(self.check)(recipe)

    def parse_options(self, given: Mapping[str, Value], method: str) -> dict[str, Value]:
        """The method's own options, each of the type of its default.

        Raises:
            UsageError: one is unknown, or of another type.
        """
        values = dict(self.options)
        for name, value in given.items():
            if name not in self.options:
                if not self.any_option:
                    raise UnknownNameError(f"option of {method}", name, self.options or ["none"])
                values[name] = value
                continue
            values[name] = _as(type(self.options[name]), name, value)
        return values


def _coreset(description: str, home: str, paper: str) -> Method:
    """One that chooses real images with a network trained on the whole set (`methods.reference_network`)."""
    settings: dict[str, Value] = {"network_lr": 0.01, "batch_train": 256}
    check = "dsactl.methods.checks:check_epochs"
    return Method(
        description, home, check, network=True, settings=settings, options={"epochs": 10}, passes=True, paper=paper
    )


def _gradient_matching(description: str, paper: str) -> Method:
    """One that runs Algorithm 1."""
    package = "dsactl.methods.gradient_matching"
    home, cost = f"{package}.method:gradient_matching", f"{package}.cost"
    return Method(description, home, network=True, shares_classes=True, cost=cost, paper=paper)


def _load(home: str) -> Callable[..., Any]:
    module, _, name = home.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _as(kind: type[Value], name: str, value: Value) -> Value:
    """A given option in the type of its default.

    Raises:
        UsageError: it is not of that type, or not finite.
    """
    try:
        converted = kind(value)
        fits = isinstance(converted, str) or (math.isfinite(converted) and converted == float(value))
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        what = {int: "a whole number", float: "a finite number"}.get(kind, "a word")
        raise UsageError(f"--option {name}={value} is not {what}.")
    return converted


BUILT_IN: dict[str, Method] = {
    "dsa": _gradient_matching("Differentiable Siamese Augmentation: Algorithm 1 of the paper", "2102.08259"),
    "dc": _gradient_matching("Dataset Condensation: Algorithm 1 without augmentation", "2006.05929"),
    "random": Method("real images, drawn at random", "dsactl.methods.random:random"),
    "herding": _coreset(
        "real images whose mean is near the class mean", "dsactl.methods.herding:herding", "1611.07725"
    ),
    "kcenter": _coreset("real images that are far from each other", "dsactl.methods.kcenter:kcenter", "1708.00489"),
    "forgetting": _coreset(
        "real images that training forgets most often", "dsactl.methods.forgetting:forgetting", "1812.05159"
    ),
    "dd": Method(
        "Dataset Distillation: images and step sizes, learned through a few steps of training",
        "dsactl.methods.dd:dd",
        "dsactl.methods.checks:check_dd",
        network=True,
        settings={
            "iterations": 500,
            "inner_steps": 10,
            "image_lr": 0.1,
            "network_lr": 0.1,
            "batch_real": 256,
            "batch_synthetic": 10,
            "init": "noise",
        },
        options={"step_lr": 0.01, "weights": "random", "networks": 1},
        paper="1811.10959",
    ),
    "ld": Method(
        "Label Distillation: soft labels of real images, learned through training",
        "dsactl.methods.ld:ld",
        "dsactl.methods.checks:check_ld",
        network=True,
        settings={"iterations": 500, "inner_steps": 1, "network_lr": 0.1, "batch_real": 256, "batch_train": 50},
        options={"label_lr": 0.1, "smoothing": 0.1, "patience": 20},
        paper="2006.08572",
    ),
}
ALGORITHM_1 = ("dsa", "dc")
"""The methods that run Algorithm 1."""


def find(name: str) -> Method:
    """A method by its name.

    Raises:
        UnknownNameError: there is none.
        UsageError: it is another package's, and cannot be used.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    point = _foreign().get(name)
    if point is None:
        raise UnknownNameError("method", name, names(), "Own methods: docs/methods.md")
    if not _is_free(name):
        raise UsageError(
            f"{name!r}, of another package, is no name for a method.",
            "A name is at most 32 long, of a-z, 0-9, '.', '_' and '-', begins with a letter or digit, has no '..', and "
            f"is not {WHOLE!r} or {IMPORTED!r}. Change it in that package's entry points.",
        )
    try:
        function = point.load()
        about = (function.__doc__ or "").strip() or "a method of another package"
        network, options = getattr(function, "network", False), getattr(function, "options", None)
    except Exception as error:  # whatever another package stumbles over
        raise UsageError(f"The method {name!r} cannot be loaded: {error}.", "Install its package again.") from None
    if not callable(function):
        raise UsageError(f"The method {name!r} is no function: {point.value}.", "See docs/methods.md for an example.")
    if options is not None and not _are_options(options):
        raise UsageError(
            f"The options of the method {name!r} are not names with defaults that are numbers or words.",
            f"That is {point.value}, in its package.",
        )
    return Method(
        about.splitlines()[0],
        network=bool(network),
        options=options or {},
        any_option=options is None,
        function=function,
    )


def names() -> list[str]:
    """Every method's name, those of the program first. Names that no method can have are left out."""
    return [*BUILT_IN, *sorted(filter(_is_free, _foreign()))]


def _is_free(name: str) -> bool:
    """Whether a method of another package can have a name."""
    return bool(WORD.fullmatch(name)) and is_part(name) and name not in (*BUILT_IN, WHOLE, IMPORTED)


def _are_options(options: object) -> bool:
    """Whether these are names with defaults that a recipe can hold."""
    return isinstance(options, Mapping) and all(
        isinstance(name, str) and type(value) in (int, float, str) for name, value in options.items()
    )


@functools.cache
def _foreign() -> "dict[str, EntryPoint]":
    """The methods of other packages, by whatever they are called there; of one name, the first to be found.

    A package whose entry points cannot be read has none.
    """
    from importlib.metadata import distributions  # here, where it is needed, for it takes its time

    found: dict[str, EntryPoint] = {}
    for distribution in distributions():
        with contextlib.suppress(Exception):  # whatever is written there
            for point in distribution.entry_points.select(group=GROUP):
                found.setdefault(point.name, point)
    return found
