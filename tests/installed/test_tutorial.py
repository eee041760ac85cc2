"""The tutorial works as it is written: every command and script of the page, in its order, from an installed wheel.

Two numbers are lowered (`LOWERED`), and the Hub is one on loopback.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import LoopbackHub
from hub.machine import NO_PROXY
from hub.server import TOKEN

from installed.program import ROOT, Installation

pytest_plugins = ["installed.fixtures"]

PAGE = ROOT / "docs" / "tutorial.md"
LOWERED = {
    "--iterations 200": "--iterations 2",
    "--networks 5": "--networks 1 --epochs 5",
    "--networks 1\n": "--networks 1 --epochs 5\n",
    "epochs=1000": "epochs=10",
}
"""What the test runs in place of the page's numbers, which take minutes."""
OWN = {"you/": "user/"}
"""The user whom the Hub of the tests knows."""


def steps() -> Iterator[tuple[str, str]]:
    """Yield the page's blocks in order: commands with the name "", scripts with the name that the page gives them."""
    page = PAGE.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        language, code = block.groups()
        assert language in ("sh", "python", "text")
        if language == "sh":
            yield "", code
        elif language == "python":
            (before,) = page[: block.start()].rstrip().splitlines()[-1:]
            (name,) = re.findall(r"[Ss]ave (?:it|this) as `(\w+\.py)`:$", before)
            yield name, code


@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(installation: Installation, tmp_path: Path) -> None:
    found = dict.fromkeys([*LOWERED, *OWN], 0)
    commands: list[str] = []
    for name, code in steps():
        for written, used in (LOWERED | OWN).items():
            found[written] += code.count(written)
            code = code.replace(written, used)
        if name:
            (tmp_path / name).write_text(code, encoding="utf-8")
        else:
            commands += code.splitlines()
    assert all(found.values()), "the page has not what is replaced"
    install = commands.pop(0)
    assert install == "pip install '.[hub]'"
    with LoopbackHub() as hub:
        client = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "client"), **NO_PROXY}
        script = "\n".join(["set -ex", *commands])
        done = installation.run("bash", "-c", script, cwd=tmp_path, **client)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(tmp_path.glob("signs/*/*.jpg"))) == 600
    assert "480 training and 120 test images" in done.stderr
    assert "as many bytes" in done.stdout
    assert re.search(r"^\d+% of 120 photographs, after training on 6 images$", done.stdout, re.MULTILINE)
    assert {path.name for path in tmp_path.iterdir()} >= {"signs.html", "signs.png", "signs.npz", "store", "elsewhere"}
    assert list(tmp_path.glob("elsewhere/sets/user/signs-ipc1/1.json"))
