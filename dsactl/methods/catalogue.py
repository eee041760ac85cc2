"""The methods that `condense` knows: those of the program, and those of other packages. Importing this loads no torch.

A package adds a method with an entry point in the group `dsactl.methods`, which names a function from `Work` to `Made`
(docs/methods.md has a whole example).
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from dsactl.errors import UnknownNameError, UsageError

GROUP = "dsactl.methods"

Value = int | float | str


@dataclass(frozen=True)
class Method:
    """What is known about a method before it runs.

    Attributes:
        description: a line.
        home: "module:function"; empty for those that run Algorithm 1 (`dsactl.dsa`).
        check: the same for a function that refuses a recipe which the method cannot make; empty for none.
        network: whether it uses a network, which is then part of the recipe.
        settings: options of `condense` that it takes, beside those that every method takes, with its defaults.
        options: its own, given by `--option NAME=VALUE`, with their defaults, whose types hold.
        any_option: whether it takes whatever option is given.
        passes: whether each of its steps is a pass over the whole training split.
    """

    description: str
    home: str = ""
    check: str = ""
    network: bool = False
    settings: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    any_option: bool = False
    passes: bool = False

    def load(self) -> Callable[..., Any]:
        """The function that makes the set, from `Work` to `Made`."""
        return _load(self.home)

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


def _coreset(description: str, home: str) -> Method:
    """One that chooses real images with a network trained on the whole set (`methods.whole`)."""
    settings: dict[str, Value] = {"network_lr": 0.01, "batch_train": 256}
    check = "dsactl.methods.whole:check"
    return Method(description, home, check, network=True, settings=settings, options={"epochs": 10}, passes=True)


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
    "dsa": Method("Differentiable Siamese Augmentation: Algorithm 1 of the paper", network=True),
    "dc": Method("Dataset Condensation: Algorithm 1 without augmentation", network=True),
    "random": Method("real images, drawn at random", "dsactl.methods.random:random"),
    "herding": _coreset("real images whose mean is near the class mean", "dsactl.methods.herding:herding"),
    "kcenter": _coreset("real images that are far from each other", "dsactl.methods.kcenter:kcenter"),
    "forgetting": _coreset("real images that training forgets most often", "dsactl.methods.forgetting:forgetting"),
    "dd": Method(
        "Dataset Distillation: images and step sizes, learned through a few steps of training",
        "dsactl.methods.dd:dd",
        "dsactl.methods.dd:check",
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
    ),
    "ld": Method(
        "Label Distillation: soft labels of real images, learned through training",
        "dsactl.methods.ld:ld",
        "dsactl.methods.ld:check",
        network=True,
        settings={"iterations": 500, "inner_steps": 1, "network_lr": 0.1, "batch_real": 256, "batch_train": 50},
        options={"label_lr": 0.1, "smoothing": 0.1, "patience": 20},
    ),
}
ALGORITHM_1 = ("dsa", "dc")
"""The methods that run Algorithm 1."""


def find(name: str) -> Method:
    """A method by its name.

    Raises:
        UnknownNameError: there is none.
        UsageError: its package cannot be loaded.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in _foreign():
        raise UnknownNameError("method", name, [*BUILT_IN, *_foreign()], "Own methods: docs/methods.md")
    from importlib.metadata import entry_points  # as below: here, where it is needed, for it takes its time

    try:
        function = entry_points(group=GROUP)[name].load()
        about = (function.__doc__ or "").strip() or "a method of another package"
        home = f"{function.__module__}:{function.__qualname__}"
    except Exception as error:  # whatever another package stumbles over
        raise UsageError(f"The method {name!r} cannot be loaded: {error}.", "Install its package again.") from None
    return Method(
        about.splitlines()[0],
        home,
        network=getattr(function, "network", False),
        options=getattr(function, "options", {}),
        any_option=not hasattr(function, "options"),
    )


def names() -> list[str]:
    """Every method's name, those of the program first."""
    return [*BUILT_IN, *_foreign()]


@functools.cache
def _foreign() -> tuple[str, ...]:
    """Names of the methods of other packages."""
    from importlib.metadata import entry_points

    return tuple(sorted(point.name for point in entry_points(group=GROUP) if point.name not in BUILT_IN))
