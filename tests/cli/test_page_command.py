"""dsactl page, from the command line."""

import json
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import put

import registry

Cli = Callable[..., tuple[int, str, str]]
MNIST = "bundled/mnist-dsa-convnet-ipc1:1"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_path_and_the_size_are_said(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("page", MNIST)
    path = tmp_path / "mnist-dsa-convnet-ipc1-v1.html"
    assert (code, err) == (0, "")
    assert out == f"Wrote mnist-dsa-convnet-ipc1-v1.html ({path.stat().st_size / 1000:.1f} kB)\n"
    assert cli("page", MNIST, "-q", "-o", "a.html")[1] == "a.html\n"
    assert json.loads(cli("page", MNIST, "--json", "--force")[1]) == {
        "path": str(path),
        "bytes": path.stat().st_size,
        "references": [MNIST],
    }
    assert cli("page", MNIST, "bundled/mnist-dsa-convnet-ipc1:2", "-q")[1] == "comparison.html\n"
    assert cli("page", "-q")[1] == "registry.html\n"


def test_an_existing_file_stays(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "registry.html").write_text("mine")
    assert "registry.html already exists.\n  Replace it with --force, or give another --output." in refused("page")
    assert (tmp_path / "registry.html").read_text() == "mine"
    assert "--data is for --neighbours only" in refused("page", MNIST, "--data", "x", "--force")
    assert "Name sets: dsactl page NAME --neighbours" in refused("page", "--neighbours")
    assert "Give a name with --output" in refused("page", MNIST, "-o", "-")
    wrong = refused("page", MNIST, "-o", "a.pdf")
    assert "A page is an HTML file: a.pdf has another ending." in wrong
    assert "--output a.html" in wrong
    assert "Cannot write" in refused("page", MNIST, "-o", str(tmp_path / "registry.html" / "a.html"))


def test_damaged_sets_are_named_in_a_line(cli: Cli, tmp_path: Path) -> None:
    good, bad = (put(registry.Store(), seed, registry.parse_name(f"set-{seed}")) for seed in range(2))
    bad.file.write_bytes(b"damaged")
    code, out, err = cli("page")
    assert code == 1
    assert out.startswith("Wrote registry.html")
    assert f"Error: The file of {bad.reference} was modified" in err
    assert good.reference in (tmp_path / "registry.html").read_text(encoding="utf-8")
    code, out, err = cli("page", bad.reference)
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: The file of {bad.reference} was modified")


@pytest.mark.parametrize("there", [True, False])
def test_the_browser_opens_the_page(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or there)
    code, _, err = cli("page", MNIST, "--open", "-o", "with space.html")
    assert code == 0
    assert opened == [(tmp_path / "with space.html").as_uri()]
    assert ("No browser was found" in err) is not there
