"""The examples in the docstrings of the public names."""

import doctest
import inspect
from pathlib import Path

import pytest

import dsactl

PUBLIC = [name for name in dsactl.__all__ if name != "__version__"]
SKIPPED = {
    "doctor": "measures the machine for ten seconds",
    "pull": "needs the Hub and a repository of the user",
    "reproduce": "needs MNIST, and minutes",
}
"""Names whose examples are not run, and why."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies write their results to the current folder."""
    monkeypatch.chdir(tmp_path)


def examples(name: str) -> list[doctest.Example]:
    """Return the examples in the docstring of a public name."""
    return doctest.DocTestParser().get_examples(inspect.getdoc(getattr(dsactl, name)) or "")


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_public_names_run(name: str) -> None:
    """All together a few seconds, each name on a store of its own."""
    found = examples(name)
    assert found, f"dsactl.{name} has no example"
    test = doctest.DocTest(found, {}, name, inspect.getsourcefile(getattr(dsactl, name)), 0, None)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    assert result.attempted > 0 or name in SKIPPED


def test_no_other_example_is_skipped() -> None:
    skipped = {name for name in PUBLIC if any(doctest.SKIP in example.options for example in examples(name))}
    assert skipped == set(SKIPPED)
