"""The registry of methods: those of dsactl, and those of other packages. Importing this loads no torch.

A built-in method is described by a `Method` beside its settings, in a module that loads no torch either. A package adds
a method with an entry point in the group `dsactl.methods`, which names a `Method`, or a function from `Work` to `Made`
(docs/methods.md has a whole example). What is wrong with one is reported when it is used, and never before.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.settings import FreeSettings, Number, Settings
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


@dataclass(frozen=True)
class Method:
    """What is known about a method before it runs.

    Attributes:
        description: a line.
        home: "module:function" of the function from `Work` to `Made`; empty where `function` is given.
        function: the same, of another package; None for those of dsactl.
        settings: the class of its settings.
        network: whether it uses a network, which is then part of the recipe.
        augments: whether its images are made for training with augmentation unless the recipe says otherwise.
        batch_norm_twins: whether VGG and ResNet are used with batch norm, as the paper does while condensing.
        passes: whether each of its steps is a pass over the whole training split.
        shares_classes: whether several processes may share the classes of one set.
        cost: the module whose `counts`, `operations` and `seconds` tell what a run costs; empty to time its steps.
        paper: the arXiv number of its paper; empty where there is none.
        in_paper: whether its defaults are those of the DSA paper, where that has any.
    """

    description: str
    home: str = ""
    function: Callable[..., Any] | None = None
    settings: type[Settings] = Settings
    network: bool = False
    augments: bool = True
    batch_norm_twins: bool = False
    passes: bool = False
    shares_classes: bool = False
    cost: str = ""
    paper: str = ""
    in_paper: bool = False

    def load(self) -> Callable[..., Any]:
        """Return the function that makes the set, from `Work` to `Made`."""
        return load(self.home) if self.function is None else self.function

    def load_cost(self) -> Any:
        """Return the module that tells what a run costs."""
        return import_module(self.cost)


def load(home: str) -> Any:
    """Return the object that "module:name" names."""
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


BUILT_IN = {
    "dsa": "dsactl.methods.gradient_matching.settings:DSA",
    "dc": "dsactl.methods.gradient_matching.settings:DC",
    "random": "dsactl.methods.coresets.settings:RANDOM",
    "herding": "dsactl.methods.coresets.settings:HERDING",
    "kcenter": "dsactl.methods.coresets.settings:KCENTER",
    "forgetting": "dsactl.methods.coresets.settings:FORGETTING",
    "dd": "dsactl.methods.dd.settings:DD",
    "ld": "dsactl.methods.ld.settings:LD",
}
"""Where the methods of dsactl are described, by name."""


def find(name: str) -> Method:
    """A method by its name.

    Raises:
        UnknownNameError: there is none.
        UsageError: it is another package's, and cannot be used.
    """
    if name in BUILT_IN:
        method: Method = load(BUILT_IN[name])
        return method
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
        if isinstance(function, Method):
            return function
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
    settings = FreeSettings if options is None else _settings_of(options)
    return Method(about.splitlines()[0], function=function, settings=settings, network=bool(network))


def names() -> list[str]:
    """Every method's name, those of the program first. Names that no method can have are left out."""
    return [*BUILT_IN, *sorted(filter(_is_free, _foreign()))]


def _settings_of(options: Mapping[str, Any]) -> type[Settings]:
    """Make the class of settings with these defaults, whose types hold."""
    kinds = {int: int, float: Number, str: str}
    fields = [(name, kinds[type(value)], field(default=value)) for name, value in options.items()]
    return make_dataclass("OwnSettings", fields, bases=(Settings,), frozen=True, kw_only=True)


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
