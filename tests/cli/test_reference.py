"""The command reference is up to date."""

from pathlib import Path

from dsactl.cli.reference import reference

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_is_what_the_help_texts_give() -> None:
    written = COMMANDS.read_text(encoding="utf-8")
    assert written == reference(), "Update it: python -m dsactl.cli.reference > docs/commands.md"
    for text in ("### dsactl condense", "- `--sets INTEGER`: ", "- `--quiet, -q`: ", "Default: 20."):
        assert text in written
