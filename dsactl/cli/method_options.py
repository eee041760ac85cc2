"""Command-line options generated from the settings of the built-in methods."""

import inspect
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from dsactl.cli.options import one_of
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.settings import TOP_LEVEL, FieldDoc

PANEL = "Method"


def setting_parameters() -> list[inspect.Parameter]:
    """Return one parameter per setting name, in the order of the methods."""
    made: dict[str, inspect.Parameter] = {}
    for method in BUILT_IN:
        for name, kind in find(method).settings.types().items():
            if name not in made:
                made[name] = _parameter(name, kind)
    return sorted(made.values(), key=lambda each: each.name not in TOP_LEVEL)


def _parameter(name: str, kind: Any) -> inspect.Parameter:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    words = get_args(plain) if get_origin(plain) is Literal else ()
    owners = [method for method in BUILT_IN if name in find(method).settings.names()]
    panel = PANEL if name in TOP_LEVEL else f"{PANEL}: {', '.join(owners)}"
    completion = one_of(*words) if words else None
    option = typer.Option(help=_help(name, owners), rich_help_panel=panel, autocompletion=completion)
    annotation: Any = Annotated[(str if words else plain) | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(name: str, owners: list[str]) -> str:
    """Return what a setting is, with its default in every method that has it; in parts where that differs."""
    parts: dict[str, dict[str, list[str]]] = {}
    for method in owners:
        doc = _doc(method, name)
        parts.setdefault(doc.text, {}).setdefault(doc.default, []).append(method)
    named = name in TOP_LEVEL or len(owners) > 1
    return "  ".join(f"{text}  \\[{_defaults(defaults, named=named)}]" for text, defaults in parts.items())


def _defaults(defaults: dict[str, list[str]], *, named: bool) -> str:
    """Return defaults with the methods that have them."""
    return "; ".join(f"{', '.join(those)}: {default}" if named else default for default, those in defaults.items())


def _doc(method: str, name: str) -> FieldDoc:
    """Return the docstring under a field; where there is none, the field's name and its default."""
    settings = find(method).settings
    return settings.docs().get(name) or FieldDoc(f"{name.replace('_', ' ')}.", str(settings.constant_default(name)))
