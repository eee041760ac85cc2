"""Settings of methods: one frozen dataclass per method, with a docstring under each field.

From the fields come the options of the command line with their help, the keys of TOML files, and the method's part of
recipes and manifests. Importing this loads no torch.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, Self, get_args, get_type_hints

import pydantic
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dsactl.errors import UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec

Value = int | float | str
Count = Annotated[int, pydantic.Field(ge=1)]
Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]

TOP_LEVEL = (
    *("iterations", "inner_steps", "network_epochs", "image_lr", "image_momentum", "network_lr"),
    *("batch_real", "batch_synthetic", "batch_train", "init", "distance", "scheme"),
)
"""Settings that manifests have beside the recipe's other fields; all others are under "options" there."""


class Asked(NamedTuple):
    """What defaults may depend on.

    Attributes:
        method: its name.
        ipc: images per class.
        arch: the network's name.
    """

    method: str
    ipc: int
    arch: str


class Checked(Protocol):
    """What is checked of a recipe beside its settings: method, images per class and network."""

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
        text: what the setting is, as a noun phrase.
        default: its default and whose it is.
    """

    text: str
    default: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a method that has none, or of a set of which they are not known.

    A subclass is a frozen dataclass with keyword fields. Under each field is a docstring: a noun phrase, then a
    paragraph that begins with "Default:" and says whose default it is.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    left_out: ClassVar[Mapping[str, Value]] = {}
    """Values that a manifest leaves out, by field: those that recipes had before they had the field."""
    states_precision: ClassVar[bool] = False
    """Whether a recipe states float32 as well."""

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        """Return the defaults of the fields that have no constant one.

        Args:
            asked: what they depend on.
            given: the settings that the user gives.
        """
        return {}

    @classmethod
    def resolve(cls, given: Mapping[str, Any], asked: Asked, *, own: bool = False) -> Self:
        """Fill in the defaults, and check types and ranges.

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
        try:
            kind: Any = cls
            resolved: Self = _adapter(kind).validate_python({**cls.dependent_defaults(asked, given), **given})
            return resolved
        except ValidationError as error:
            fault = error.errors()[0]
            words = get_args(cls.types()[str(fault["loc"][0])])
            if fault["type"] == "literal_error" and isinstance(fault["input"], str):
                raise UnknownNameError(str(fault["loc"][0]), fault["input"], words) from None
            raise UsageError(first_fault(error, own=own)) from None

    def check(self, recipe: Checked) -> None:
        """Refuse what the method cannot make.

        Args:
            recipe: that has these settings.

        Raises:
            UsageError: says what to change.
        """

    @classmethod
    def names(cls) -> list[str]:
        """The names of the settings, in their order."""
        return [each.name for each in fields(cls)]

    @classmethod
    def constant_default(cls, name: str) -> Any:
        """The default of a setting; None where there is no such setting, or it has no constant default."""
        found: Field[Any] | None = {each.name: each for each in fields(cls)}.get(name)
        return None if found is None or found.default is MISSING else found.default

    @classmethod
    def docs(cls) -> dict[str, FieldDoc]:
        """The docstrings under the fields, by name."""
        known: Any = cls
        return _field_docs(known)

    @classmethod
    def types(cls) -> dict[str, Any]:
        """The types of the fields, with their ranges, by name."""
        hints = get_type_hints(cls, include_extras=True)
        return {name: hints[name] for name in cls.names()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values as a manifest has them, without what it leaves out."""
        values = {name: value for name, value in self.values().items() if self.left_out.get(name) != value}
        own = {name: value for name, value in values.items() if name not in TOP_LEVEL}
        return {name: value for name, value in values.items() if name in TOP_LEVEL} | ({"options": own} if own else {})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that were in a manifest.

        Raises:
            pydantic.ValidationError: they are not this method's.
        """
        kind: Any = cls
        read: Self = _adapter(kind).validate_python({**cls.left_out, **values})
        return read

    def values(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)

    def option(self, name: str) -> Any:
        """Return one of the method's own settings, which are those that no other method shares.

        Raises:
            KeyError: it has none of that name.
        """
        return {own: value for own, value in self.values().items() if own not in TOP_LEVEL}[name]


@dataclass(frozen=True, kw_only=True)
class FreeSettings(Settings):
    """Settings that no class describes: of a package that does not say which it takes, or that is not installed."""

    free: dict[str, Value] = field(default_factory=dict)
    """Values by name."""

    @classmethod
    def resolve(cls, given: Mapping[str, Any], asked: Asked, *, own: bool = False) -> Self:
        return cls(free=dict(given))

    @classmethod
    def names(cls) -> list[str]:
        return []

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        return cls(free=dict(values))

    def values(self) -> dict[str, Any]:
        return dict(self.free)


def first_fault(error: ValidationError, *, own: bool = False) -> str:
    """Return the first fault that pydantic found, as one line with the parameter's name.

    Args:
        error: of pydantic.
        own: whether the parameters are a method's own, which are given as options.
    """
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    where = f'`options={{"{name}": ...}}`' if own else f"`{name}`"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {fault['input']!r}."


# Made when first needed: it takes as long as listing some thousand sets.
@functools.cache
def _adapter(cls: Any) -> Any:
    return TypeAdapter(cls)


@functools.cache
def _field_docs(cls: Any) -> dict[str, FieldDoc]:
    """Read the docstrings under the fields of a class and its bases, from their sources."""
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
