"""The registry of methods: those of dsactl, and those of other packages. Importing this loads no torch.

A built-in method is described by a `Method` next to its settings, in a module that loads no torch. A package adds
a method with an entry point in the group `dsactl.methods`, which names a `Method`, or a function from `MethodContext`
to `CondensedSet` (docs/methods.md has a complete example). Faults in one are reported only when it is used.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.settings import FreeSettings, Settings, settings_of
from registry.names import is_part

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "dsactl.methods"
MAX_WORD = 32
WORD = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_WORD - 1}}}")
"""Pattern of a method's name, which is a part of its sets' names."""
IMPORTED = "imported"
"""The method in recipes of sets that another program made, unless the user names one."""
WHOLE = "whole"
"""The method in recipes of whole training splits, which are evaluated like sets."""


@dataclass(frozen=True)
class Method:
    """The description of a method.

    Attributes:
        description: one line.
        home: "module:function" of the function from `MethodContext` to `CondensedSet`; empty if `function` is given.
        function: the same, of another package; None for methods of dsactl.
        settings: the class of its settings.
        network: whether it uses a network, which is then part of the recipe.
        augments: whether networks are trained on its sets with augmentation by default.
        batch_norm_twins: whether VGG and ResNet are used with batch norm, as the paper does while condensing.
        passes: whether each of its steps is a pass over the whole training split.
        takes_fewer: whether its sets may have fewer than `ipc` images of a class that has fewer.
        formation: whether its sets may hold several images in each stored one.
        shares_classes: whether several processes may share the classes of one set.
        cost: the module whose `counts` has the operations of a run, and its `seconds`, if it has this function, their
            time; empty for a rough count. Without `seconds`, some steps are timed.
        paper: the arXiv number of its paper; empty for none.
        in_paper: whether its defaults are those of the DSA paper, as far as that states them.
        protocol: the name of the evaluation protocol that its sets are made for (`dsactl.training.protocols`).
        steps_setting: the setting that counts its steps, whose number a time budget may choose; empty for none. Each
            must take about the same time, and the method must report to `keep` equally often in each.
        least_steps: the fewest that a time budget may choose.
    """

    description: str
    home: str = ""
    function: Callable[..., Any] | None = None
    settings: type[Settings] = Settings
    network: bool = False
    augments: bool = True
    batch_norm_twins: bool = False
    passes: bool = False
    takes_fewer: bool = False
    formation: bool = False
    shares_classes: bool = False
    cost: str = ""
    paper: str = ""
    in_paper: bool = False
    protocol: str = "dsa"
    steps_setting: str = ""
    least_steps: int = 1

    def load(self) -> Callable[..., Any]:
        """Return the function that makes the set, from `MethodContext` to `CondensedSet`."""
        return load(self.home) if self.function is None else self.function

    def load_cost(self) -> Any:
        """Return the module that estimates the cost of a run."""
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
    "dm": "dsactl.methods.distribution_matching.settings:DM",
    "idc": "dsactl.methods.gradient_matching.idc:IDC",
    "dance": "dsactl.methods.dance.settings:DANCE",
    "dd": "dsactl.methods.dd.settings:DD",
    "ld": "dsactl.methods.ld.settings:LD",
}
"""The descriptions of dsactl's methods, by name."""


def find(name: str) -> Method:
    """Return the method with a name.

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
            f"{name!r}, of another package, is not a valid name of a method.",
            "A name has at most 32 characters out of a-z, 0-9, '.', '_' and '-', starts with a letter or digit, has no "
            f"'..', and is not {WHOLE!r} or {IMPORTED!r}. Change it in that package's entry points.",
        )
    try:
        function = point.load()
        if isinstance(function, Method):
            return _checked(function, name)
        about = (function.__doc__ or "").strip() or "a method of another package"
        network, options = getattr(function, "network", False), getattr(function, "options", None)
        steps = getattr(function, "steps_setting", "")
    except UsageError:
        raise
    except Exception as error:  # another package may raise anything
        raise UsageError(f"The method {name!r} cannot be loaded: {error}.", "Install its package again.") from None
    if not callable(function):
        raise UsageError(
            f"The method {name!r} is not a function: {point.value}.", "See docs/methods.md for an example."
        )
    if options is not None and not _are_options(options):
        raise UsageError(
            f"The options of the method {name!r} must be a dict from names to defaults, which are numbers or strings.",
            f"Change `options` of {point.value} in its package.",
        )
    settings = FreeSettings if options is None else settings_of(tuple(options.items()))
    about = about.splitlines()[0]
    return Method(about, function=function, settings=settings, network=bool(network), steps_setting=str(steps))


def protocol_of(name: str) -> str:
    """Return the name of the protocol that a method's sets are made for; "dsa" for a method that is not known here."""
    try:
        return find(name).protocol
    except UsageError:
        return Method.protocol


def _checked(method: Method, name: str) -> Method:
    """Return the `Method` of another package, if it can be used.

    Raises:
        UsageError: it names no function, or its settings are no class of settings.
    """
    if not callable(method.function) and not method.home:
        raise UsageError(f"The method {name!r} has no function.", "Give its `Method` one in its package.")
    if not (isinstance(method.settings, type) and issubclass(method.settings, Settings)):
        raise UsageError(
            f"The settings of the method {name!r} are not a subclass of `Settings`.", "See docs/methods.md."
        )
    method.settings.types()  # what is wrong in its annotations is said here
    return method


def names() -> list[str]:
    """Return the names of all methods, dsactl's first; invalid names are left out."""
    return [*BUILT_IN, *sorted(filter(_is_free, _foreign()))]


def _is_free(name: str) -> bool:
    """Return whether a method of another package can have a name."""
    return bool(WORD.fullmatch(name)) and is_part(name) and name not in (*BUILT_IN, WHOLE, IMPORTED)


def _are_options(options: object) -> bool:
    """Return whether these are names with defaults that a recipe can hold."""
    return isinstance(options, Mapping) and all(
        isinstance(name, str) and type(value) in (int, float, str) for name, value in options.items()
    )


@functools.cache
def _foreign() -> "dict[str, EntryPoint]":
    """Return the methods of other packages by the names they have there; the first of several with one name.

    Packages whose entry points cannot be read are skipped.
    """
    from importlib.metadata import distributions  # a slow import, needed only here

    found: dict[str, EntryPoint] = {}
    for distribution in distributions():
        with contextlib.suppress(Exception):  # entry points may contain anything
            for point in distribution.entry_points.select(group=GROUP):
                found.setdefault(point.name, point)
    return found
