"""The methods that `condense` knows: those of the program, and those of other packages. Importing this loads no torch.

A package adds a method with an entry point in the group `dsactl.methods`, which names a function from `Work` to `Made`
(docs/methods.md has a whole example).
"""

import functools
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
        network: whether it uses a network, which is then part of the recipe.
        settings: options of `condense` that it takes, beside those that every method takes, with its defaults.
        options: its own, given by `--option NAME=VALUE`, with their defaults, whose types hold.
        any_option: whether it takes whatever option is given.
    """

    description: str
    home: str = ""
    network: bool = False
    settings: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    any_option: bool = False

    def load(self) -> Callable[..., Any]:
        """The function that makes the set, from `Work` to `Made`."""
        module, _, name = self.home.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

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
            kind = type(self.options[name])
            try:
                values[name] = kind(value)
            except ValueError:
                what = {int: "a whole number", float: "a number"}.get(kind, "a word")
                raise UsageError(f"--option {name}={value} is not {what}.") from None
        return values


def _coreset(description: str, home: str) -> Method:
    """One that chooses real images with a network trained on the whole set (`methods.whole`)."""
    settings: dict[str, Value] = {"network_lr": 0.01, "batch_train": 256}
    return Method(description, home, network=True, settings=settings, options={"epochs": 10})


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
    except (ImportError, AttributeError) as error:
        raise UsageError(f"The method {name!r} cannot be loaded: {error}.", "Install its package again.") from None
    return Method(
        (function.__doc__ or "a method of another package").strip().splitlines()[0],
        f"{function.__module__}:{function.__qualname__}",
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
