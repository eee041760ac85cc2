"""The command reference is up to date."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dsactl.cli.main import PANELS, command_module
from dsactl.cli.reference import reference

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_is_what_the_help_texts_give() -> None:
    written = COMMANDS.read_text(encoding="utf-8")
    assert written == reference(), "Update it: python -m dsactl.cli.reference > docs/commands.md"
    for text in ("### dsactl condense", "- `--sets INTEGER`: ", "- `--quiet, -q`: ", "Default: 20."):
        assert text in written


@pytest.mark.parametrize("name", [name for names in PANELS.values() for name in names])
def test_examples_stay_on_a_line_of_a_terminal_of_80_columns(name: str) -> None:
    """A line that the help breaks cannot be copied."""
    assert max(map(len, map(str.strip, command_module(name).EXAMPLES.splitlines()))) <= 78


@pytest.mark.parametrize("name", [name for names in PANELS.values() for name in names])
def test_the_help_names_arguments_as_the_reference_does(name: str, cli: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = cli(name, "--help")
    (usage,) = (line.partition("Usage: ")[2] for line in out.splitlines() if "Usage: " in line)
    _, _, arguments = usage.strip().partition(" [OPTIONS]")
    written = f"\n    dsactl {name}{arguments} [OPTIONS]\n"
    assert code == 0
    assert written in COMMANDS.read_text(encoding="utf-8")
