"""Fixture: the installed program, one for all tests of a worker."""

import pytest

from installed.program import Installation, install


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The installed program."""
    return install(tmp_path_factory.mktemp("installation"))
