"""The mark gpu: which tests it skips, and that they can be run with pytest alone."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import conftest
import pytest
import torch


@pytest.mark.parametrize(("marked", "there", "skipped"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_only_marked_tests_need_a_gpu(marked: bool, there: bool, skipped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keywords are no marks: they have the names of folders, and a checkout may lie in one called gpu."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    added: list[Any] = []
    item = SimpleNamespace(
        path=Path("test_a.py"),
        keywords={"gpu"},
        get_closest_marker=lambda name: name if marked else None,
        add_marker=added.append,
    )
    conftest.pytest_collection_modifyitems([item])  # type: ignore[list-item]
    assert len(added) == skipped


def test_the_fixtures_need_no_workers() -> None:
    """A machine that is lent may have pytest without pytest-xdist."""
    folder = Path(conftest.__file__).parent
    path = os.pathsep.join([str(folder), str(folder.parent)])
    code = "import sys; sys.modules['xdist'] = None; import conftest"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
