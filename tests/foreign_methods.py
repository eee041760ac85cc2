"""A package with a method of its own, in this process."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dsactl
from dsactl.recipes import methods

Install = Callable[..., Path]

FIRST = """
import functools
import torch
from torch.nn import functional as F
from dsactl.errors import UsageError
from dsactl.methods.work import CondensedSet

def first(work):
    images = [work.dataset.draw(label, 1, work.generator("x", label))[0] for label in range(10)]
    return CondensedSet(torch.stack(images), torch.arange(10))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with one module `foreign` on the path; called again, put another in its place."""
    site = tmp_path / "site"
    about = site / "foreign-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(site)

    def forget() -> None:
        sys.modules.pop("foreign", None)
        importlib.invalidate_caches()
        methods._foreign.cache_clear()

    def put(code: str = "", what: str = "foreign:first", name: str = "mine") -> Path:
        (site / "foreign.py").write_text(FIRST + code)
        (about / "entry_points.txt").write_text(f"[{methods.GROUP}]\n{name} = {what}\n")
        forget()
        return site

    yield put
    forget()


def make(**more: object) -> dsactl.SyntheticSet:
    """Make a set by the package's method."""
    return dsactl.condense("digits", ipc=1, method="mine", **more)  # type: ignore[arg-type]
