"""The script that draws the pictures of the documentation runs with the program as it is."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dsactl
from documentation.pages import ROOT

SCRIPT = ROOT / "docs" / "figures" / "draw.py"


def test_the_pictures_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, name in enumerate(("speed-limit", "stop")):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.random.default_rng(10 * label + index).integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "signs" / name / f"{index}.png")
    condense: Callable[..., Any] = dsactl.condense
    small = {"iterations": 1, "width": 8}
    monkeypatch.setattr(dsactl, "condense", lambda folder, **options: condense(folder, **options | small))
    script = runpy.run_path(str(SCRIPT))
    script["main"].__globals__["HERE"] = tmp_path
    script["main"](tmp_path / "signs")
    drawn = {path.name for path in tmp_path.iterdir() if path.is_file()}
    shown = {path.name for path in SCRIPT.parent.iterdir() if path.suffix in (".png", ".jpg")}
    assert drawn == shown
    for name in drawn:
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 90
    assert max((SCRIPT.parent / name).stat().st_size for name in shown) < 100_000
