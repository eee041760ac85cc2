"""The manual page is up to date, and man can read it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dsactl.cli.main import PANELS, command_module
from dsactl.cli.man_page import _line, man_page

PAGE = Path(__file__).parents[2] / "docs" / "dsactl.1"
COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


@pytest.fixture(scope="module")
def shown() -> str:
    """The page as text of 80 columns, without bold and italics."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-rLL=80n", str(PAGE)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(".\\x08", "", done.stdout)


def test_the_page_is_what_the_help_texts_give() -> None:
    assert PAGE.read_text(encoding="ascii") == man_page(), "Update it: python -m dsactl.cli.man_page > docs/dsactl.1"


def test_the_page_has_every_command_option_and_example(shown: str) -> None:
    lines = [line.strip() for line in shown.splitlines()]
    for name in [name for names in PANELS.values() for name in names]:
        assert any(line.startswith(f"dsactl {name} ") and line.endswith("[OPTIONS]") for line in lines)
        for example in command_module(name).EXAMPLES.splitlines()[2:]:
            assert example.strip() in lines
    options = set(re.findall(r"^- `(-.*?)`: ", COMMANDS.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(options) > 100
    for option in options:
        assert any(line == option or line.startswith(f"{option} ") for line in lines), option


def test_lines_fit_a_terminal_of_80_columns(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 80


def test_texts_are_escaped() -> None:
    assert _line(".x 'y' a-b \\ 1×1") == r"\&.x \(aqy\(aq a\-b \e 1\[u00D7]1"
