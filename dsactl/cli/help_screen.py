"""Commands whose help shows flags without a type and arguments without braces, and whose Ctrl-C keeps its note.

Typer prints `<bool>` after each flag, as if it took a value, and some versions `{REF}...` for REF….
"""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from dsactl.cli.errors import InterruptedCommandError


def _hide_flag_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command of the program."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with an empty placeholder for flags."""
        return _hide_flag_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line "Usage", with arguments as in docs/commands.md."""
        return [
            re.sub(r"[{}]", "", piece).replace("]...", "…]").replace("...", "…")
            for piece in super().collect_usage_pieces(ctx)
        ]


class Program(TyperGroup):
    """The program, a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with an empty placeholder for flags."""
        return _hide_flag_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            InterruptedCommandError: on Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise InterruptedCommandError from interrupt
