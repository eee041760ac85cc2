"""Settings of methods: one frozen dataclass per method, with a docstring under each field.

The fields define the options of the command line with their help, the keys of TOML files, and the method's part of
recipes and manifests. Importing this loads no torch.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, Self, get_args, get_type_hints

import pydantic
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dsactl.augmentation.strategy import parse_strategy
from dsactl.engine.arguments import MOST
from dsactl.errors import UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec

Value = int | float | str
Count = Annotated[int, pydantic.Field(ge=1, le=MOST)]
Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Kinds = Annotated[str, pydantic.AfterValidator(lambda text: str(parse_strategy(text)))]
"""Kinds of augmentation, in any notation of `parse_strategy`."""

TOP_LEVEL = (
    *("iterations", "inner_steps", "network_epochs", "image_lr", "image_momentum", "network_lr"),
    *("batch_real", "batch_synthetic", "batch_train", "init", "distance", "scheme"),
)
"""Settings that manifests have on the level of the recipe's other fields; all others are under "options"."""


class Asked(NamedTuple):
    """The values that defaults may depend on.

    Attributes:
        method: its name.
        ipc: images per class.
        arch: the network's name.
        dataset: its name, without views.
        formation: F.
    """

    method: str
    ipc: int
    arch: str
    dataset: str = ""
    formation: int = 1


class Checked(Protocol):
    """What is checked of a recipe beside its settings: dataset, method, images per class and network."""

    @property
    def dataset(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def ipc(self) -> int: ...
    @property
    def network(self) -> NetworkSpec | None: ...
    @property
    def network_label(self) -> str | None: ...


class FieldDoc(NamedTuple):
    """The docstring under a field.

    Attributes:
        text: a noun phrase that describes the setting.
        default: its default, and whether it is the paper's or ours.
    """

    text: str
    default: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a method without settings, or of a set whose settings are unknown.

    A subclass is a frozen dataclass with keyword fields. Under each field is a docstring: a noun phrase, then a
    paragraph that begins with "Default:" and says whose default it is.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    left_out: ClassVar[Mapping[str, Value]] = {}
    """Values that a manifest leaves out, by field: those of older recipes, which lack the field."""
    states_precision: ClassVar[bool] = False
    """Whether recipes state the precision even if it is float32."""

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        """Return the defaults of the fields without a constant default.

        Args:
            asked: the values that they depend on.
            given: the user's settings.
        """
        return {}

    @classmethod
    def resolve(cls, given: Mapping[str, Any], asked: Asked, *, own: bool = False) -> Self:
        """Return the settings with defaults filled in, and types and ranges checked.

        Args:
            given: the settings that the user gives.
            asked: what defaults may depend on.
            own: whether the method is of another package, whose settings are given as options.

        Raises:
            UsageError: a setting is unknown, or of the wrong type or range.
        """
        for name in given:
            if name not in cls.names():
                raise UnknownNameError(f"option of {asked.method}", name, cls.names() or ["none"])
        kind: Any = cls
        try:
            # Twice: what defaults depend on has its type only then, as a number that was given as text.
            read: Self = _adapter(kind).validate_python({**cls.dependent_defaults(asked, {}), **given})
            typed = {name: getattr(read, name) for name in given}
            resolved: Self = _adapter(kind).validate_python({**cls.dependent_defaults(asked, typed), **typed})
            return resolved
        except ValidationError as error:
            fault = error.errors()[0]
            words = get_args(cls.types()[str(fault["loc"][0])])
            if fault["type"] == "literal_error" and isinstance(fault["input"], str):
                raise UnknownNameError(str(fault["loc"][0]), fault["input"], words) from None
            raise UsageError(first_fault(error, own=own)) from None

    def check(self, recipe: Checked) -> None:
        """Refuse a recipe that the method cannot run.

        Args:
            recipe: has these settings.

        Raises:
            UsageError: a setting is out of range, or does not fit the recipe.
        """

    def with_steps(self, name: str, steps: int) -> Self:
        """Return the settings of a run with another number of steps.

        A class with other settings that depend on the end of the run, such as the step of a decay, scales these too.

        Args:
            name: of the setting that counts the steps (`Method.steps_setting`).
            steps: their number.
        """
        return replace(self, **{name: steps})

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the settings, in their order."""
        return [each.name for each in fields(cls)]

    @classmethod
    def constant_default(cls, name: str) -> Any:
        """Return the constant default of a setting; None if it has none, or there is no such setting."""
        found: Field[Any] | None = {each.name: each for each in fields(cls)}.get(name)
        return None if found is None or found.default is MISSING else found.default

    @classmethod
    def docs(cls) -> dict[str, FieldDoc]:
        """Return the docstrings under the fields, by name."""
        known: Any = cls
        return _field_docs(known)

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Return the types of the fields with their ranges, by name."""
        hints = get_type_hints(cls, include_extras=True)
        return {name: hints[name] for name in cls.names()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for a manifest, without those that it leaves out."""
        values = {name: value for name, value in self.values().items() if self.left_out.get(name) != value}
        own = {name: value for name, value in values.items() if name in self.own()}
        return {name: value for name, value in values.items() if name not in own} | ({"options": own} if own else {})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings from the values of a manifest.

        Raises:
            ValueError: they are not this method's settings: one is missing, unknown or invalid.
        """
        kind: Any = cls
        whole = {**cls.left_out, **values}
        if whole.keys() != set(cls.names()):  # nothing that was unknown then is made up now
            raise ValueError("other settings")
        read: Self = _adapter(kind).validate_python(whole)
        return read

    def values(self) -> dict[str, Any]:
        """Return all settings by name."""
        return asdict(self)

    def own(self) -> dict[str, Any]:
        """Return the settings that a manifest has under "options", by name."""
        return {name: value for name, value in self.values().items() if name not in TOP_LEVEL}

    def option(self, name: str) -> Any:
        """Return one of the settings.

        Raises:
            KeyError: there is none with this name.
        """
        return self.values()[name]


@dataclass(frozen=True, kw_only=True)
class FreeSettings(Settings):
    """Settings without fields: of a function of another package, or of a method that is not installed."""

    free: dict[str, Value] = field(default_factory=dict)
    """Values by name, which a manifest has under "options"."""
    shared: dict[str, Value] = field(default_factory=dict)
    """Values by name that a manifest has beside the recipe's other fields."""
    defaults: ClassVar[Mapping[str, Value] | None] = None
    """The settings that the package declares, with defaults whose types hold; None if it declares none."""

    @classmethod
    def resolve(cls, given: Mapping[str, Any], asked: Asked, *, own: bool = False) -> Self:
        if cls.defaults is None:
            return cls(free=dict(given))
        values = dict(cls.defaults)
        for name, value in given.items():
            if name not in values:
                raise UnknownNameError(f"option of {asked.method}", name, values or ["none"])
            kinds: dict[type, Any] = {int: int, float: Number, str: str}
            try:
                values[name] = _adapter(kinds[type(values[name])]).validate_python(value)
            except ValidationError as error:
                raise UsageError(first_fault(error, own=own, name=name)) from None
        return cls(free=values)

    def with_steps(self, name: str, steps: int) -> Self:
        return replace(self, free={**self.free, name: steps})

    @classmethod
    def names(cls) -> list[str]:
        return list(cls.defaults or ())

    @classmethod
    def types(cls) -> dict[str, Any]:
        return {name: type(value) for name, value in (cls.defaults or {}).items()}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        return cls(free=dict(values))

    def values(self) -> dict[str, Any]:
        return {**self.shared, **self.free}

    def own(self) -> dict[str, Any]:
        return dict(self.free)


@functools.cache
def settings_of(options: tuple[tuple[str, Value], ...]) -> type[FreeSettings]:
    """Return the class of settings with these defaults; the same class for the same defaults."""
    return type("DeclaredSettings", (FreeSettings,), {"defaults": dict(options)})


def first_fault(error: ValidationError, *, own: bool = False, name: str = "") -> str:
    """Return the first fault that pydantic found, as one line with the parameter's name.

    Args:
        error: raised by pydantic.
        own: whether the parameters are a method's own, which are given as `options`.
        name: the parameter's, if the error does not have it.
    """
    fault = error.errors()[0]
    name = name or ".".join(map(str, fault["loc"]))
    where = f'`options={{"{name}": ...}}`' if own else f"`{name}`"
    if fault["type"] == "missing":
        return f"{where} is missing."
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {fault['input']!r}."


# Built on first use: it takes as long as listing some thousand sets.
@functools.cache
def _adapter(cls: Any) -> Any:
    return TypeAdapter(cls)


@functools.cache
def _field_docs(cls: Any) -> dict[str, FieldDoc]:
    """Return the docstrings under the fields of a class and its bases, read from their source code."""
    found: dict[str, FieldDoc] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Settings) and base is not Settings:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(tree, ast.ClassDef)
            for first, second in zip(tree.body, tree.body[1:], strict=False):
                match first, second:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        what, _, default = inspect.cleandoc(text).partition("\n\nDefault:")
                        found[name] = FieldDoc(" ".join(what.split()), " ".join(default.split()).rstrip("."))
    return {name: doc for name, doc in found.items() if name in cls.names()}
