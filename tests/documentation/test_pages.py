"""Links of the documentation lead somewhere, and its commands exist with their options."""

import ast
import inspect
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer

import dsactl
from documentation.pages import PAGES, ROOT, anchors, commands, links, python, text_and_code
from dsactl.cli.main import program_of

WITHOUT = {
    "CONTRIBUTING.md": "its commands are of what one adds there",
    "commands.md": "made from the program, with the lines of usage",
}
"""Pages whose commands cannot be parsed, and why."""

PARSE_ERROR = typer.BadParameter.__bases__[0]
"""The base class of all errors of parsing: click's, or that of typer's own copy of it."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pages
def test_links_and_anchors_exist(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not parts.fragment or parts.fragment in anchors(target), link


def test_every_page_is_reached_from_the_index() -> None:
    listed = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "README.md")}
    assert {page for page in PAGES if page.parent == ROOT / "docs" and page.name != "README.md"} <= listed


def test_every_extra_is_described() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    described = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs" / "installation.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(described) == set(extras) - {"dev"}


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, without running it.

    Raises:
        UsageError of typer: there is no such command or option, an argument is missing or too much.
    """
    program = typer.main.get_command(program_of(words))
    if words[0].startswith("-"):
        assert words[0] in ("--version", "--help", "-h", "--install-completion", "--show-completion")
        return
    with program.make_context("dsactl", list(words)) as context:
        name, command, rest = program.resolve_command(context, list(words))
        assert command is not None
        if "--help" not in rest:
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in WITHOUT], ids=lambda page: page.stem)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        try:
            parse(words)
        except PARSE_ERROR as error:
            pytest.fail(f"dsactl {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_python_code_uses_functions_that_exist(page: Path) -> None:
    """With keywords that they have, unless they pass others on, as `dsactl.condense` does."""
    for code in python(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dsactl":
                assert node.attr in dsactl.__all__ or f"import dsactl.{node.attr}" in code, node.attr
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("dsactl."):
                function = getattr(dsactl, ast.unparse(node.func).partition(".")[2])
                parameters = inspect.signature(function).parameters
                if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
                    assert {each.arg for each in node.keywords if each.arg} <= set(parameters), ast.unparse(node)


@pytest.mark.parametrize(
    "line", ["condence digits", "condense digits --ipx 1", "show", "ls one two", "evaluate --networks many"]
)
def test_wrong_commands_are_found(line: str) -> None:
    with pytest.raises(PARSE_ERROR):
        parse(line.split())


def test_code_and_anchors_are_told_apart_from_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` – c, d\n\ntext\n    continued\n\n    dsactl ls  # [no](link.md)\n    A=1 dsactl show x | cat\n\n"
        "```sh\n# no heading\ndsactl condense \\\n    digits\ndsactl …\n```\n[a](b.md#c) `[c](d)` ![e](f.png)\n"
    )
    assert text_and_code(page)[0].splitlines()[2:4] == ["text", "    continued"]
    assert list(commands(page)) == [["ls"], ["show", "x"], ["condense", "digits"]]
    assert (links(page), anchors(page)) == (["b.md#c", "f.png"], {"a-b--c-d"})
