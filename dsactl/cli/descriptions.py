"""Descriptions of the commands, taken from their modules, for the command reference and the manual page."""

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from typer.models import ArgumentInfo, OptionInfo

from dsactl.cli.main import command_module, paragraphs
from dsactl.cli.option_groups import expanded

_PLACEHOLDERS = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}

Described = Sequence[tuple[str, str]]
"""Names with what is said of them."""


@dataclass(frozen=True)
class CommandDescription:
    """What the help of a command says, as plain text.

    Attributes:
        name: of the command.
        about: its paragraphs, separated by empty lines.
        arguments: as in the line "Usage".
        panels: the options, with the placeholders of their values, by panel of the help.
        examples: command lines.
    """

    name: str
    about: str
    arguments: Described
    panels: dict[str, Described]
    examples: str

    @property
    def usage(self) -> str:
        """The line "Usage"."""
        return " ".join(["dsactl", self.name, *(name for name, _ in self.arguments), "[OPTIONS]"])


def describe(name: str) -> CommandDescription:
    """Return the description of a command."""
    module = command_module(name)
    arguments: list[tuple[str, str]] = []
    panels: dict[str, list[tuple[str, str]]] = {"Options": []}
    for parameter in inspect.signature(expanded(module.command)).parameters.values():
        info = get_args(parameter.annotation)[1]
        if isinstance(info, ArgumentInfo):
            arguments.append((_usage(parameter, info), _about(parameter, info)))
        else:
            panel = panels.setdefault(str(info.rich_help_panel or "Options"), [])
            panel.append((_names(parameter, info), _about(parameter, info)))
    return CommandDescription(
        name,
        _plain(paragraphs(module.command.__doc__)),
        arguments,
        {panel: options for panel, options in panels.items() if options},
        textwrap.dedent(module.EXAMPLES.partition("\n")[2]).strip("\n"),
    )


def _usage(parameter: inspect.Parameter, info: ArgumentInfo) -> str:
    kind = get_args(parameter.annotation)[0]
    many = "…" if any(str(each).startswith("list") for each in (kind, *get_args(kind))) else ""
    required = parameter.default is inspect.Parameter.empty
    return f"{info.metavar}{many}" if required else f"[{info.metavar}{many}]"


def _names(parameter: inspect.Parameter, info: OptionInfo) -> str:
    """Return the option's names and the placeholder of its value."""
    given = [info.default, *(info.param_decls or ())]  # in `Annotated`, typer takes the first name as the default
    names = ", ".join(each for each in given if isinstance(each, str)) or f"--{parameter.name.replace('_', '-')}"
    kinds = _kinds(get_args(parameter.annotation)[0])
    if bool in kinds:
        return names
    return f"{names} {info.metavar or next(_PLACEHOLDERS[each] for each in kinds if each in _PLACEHOLDERS)}"


def _kinds(kind: Any) -> list[Any]:
    """Return a type and the types of which it is a union, a list or an annotation."""
    return [kind, *(inner for each in get_args(kind) for inner in _kinds(each))]


def _about(parameter: inspect.Parameter, info: ArgumentInfo | OptionInfo) -> str:
    """Return the help, range and default of an argument or option."""
    # A help text ends with its default in brackets; a setting that methods share may have several such parts.
    text = re.sub(r"  \\\[(.*?)\](?=  |$)", r" Default: \1.", info.help or "")
    parts = [text]
    if info.min is not None and info.max is not None:
        parts.append(f"From {info.min} to {info.max}.")
    elif info.min is not None:
        parts.append(f"At least {info.min}.")
    if (
        text == (info.help or "")
        and parameter.default not in (None, inspect.Parameter.empty)
        and parameter.default is not False
    ):
        parts.append(f"Default: {parameter.default}.")
    return _plain(" ".join(parts))


def _plain(help_text: str) -> str:
    """Remove rich's escapes."""
    return help_text.replace("\\[", "[")
