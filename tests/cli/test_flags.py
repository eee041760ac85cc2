"""Messages name calls of Python; the command line names the commands."""

import pytest

import dsactl
from dsactl.cli.flags import translate
from dsactl.cli.main import program_of

NAMES = [command.name for command in program_of([]).registered_commands]


@pytest.mark.parametrize("name", sorted({*NAMES} & {*dsactl.__all__}))
def test_public_functions_that_are_commands_are_translated(name: str) -> None:
    assert translate(f"Use `{name}(...)`.") == f"Use dsactl {name}."
    assert translate(f'Use `{name}("a", "b", ipc=[1, 2])`.') == f"Use dsactl {name} a b --ipc 1,2."
