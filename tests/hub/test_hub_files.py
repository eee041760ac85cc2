"""The files of a repository: what the card says, what `datasets` reads, and a dry run that writes them."""

import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import load_file

import dsactl
import registry
from hub import LoopbackHub
from hub.machine import NAME, NAMES, NO_PROXY, Machine, levels
from hub.server import TOKEN
from registry.hub import Notes, repository_files, write_folder

pytest_plugins = ["hub.fixtures"]


def test_a_dry_run_writes_what_would_be_pushed(hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path) -> None:
    machine.add()
    arguments = ("push", NAME, repo, "--licence", "MIT License")
    assert machine.json(*arguments, "--dry-run")["folder"] == NAME
    assert hub.seen == []
    folder = tmp_path / "mine" / NAME
    (folder / "README.md").write_text("of an earlier time")
    machine.run(*arguments, "--dry-run")
    (folder / "notes.txt").write_text("mine")
    assert f"{NAME} already exists and contains other files" in machine.run(*arguments, "--dry-run", code=1).stderr
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    machine.run(*arguments)
    pushed = hub.repositories.all[repo].files("v1")
    assert files == {path: data for path, data in pushed.items() if path != ".gitattributes"}
    assert "--out needs --dry-run" in machine.run(*arguments, "--out", "x", code=2).stderr


def test_a_licence_that_the_hub_does_not_know_is_remarked_on(machine: Machine, repo: str) -> None:
    machine.add()
    arguments = ("push", NAME, repo, "--dry-run", "--licence")
    said = machine.run(*arguments, "apache 2").stderr.splitlines()[0]
    assert said.startswith("'apache 2' is no licence identifier of the Hub")
    assert "The closest identifiers: apache-2.0" in said
    assert "closest" not in machine.run(*arguments, "€€€").stderr
    assert "identifier" not in machine.run(*arguments, "MIT License").stderr


def test_a_dry_run_that_fails_leaves_nothing(machine: Machine, repo: str, tmp_path: Path) -> None:
    machine.add()
    arguments = ("push", NAME, repo, "--dry-run", "--out")
    (tmp_path / "file").write_text("")
    said = machine.run(*arguments, str(tmp_path / "file" / "out"), code=1).stderr
    assert "Cannot write" in said
    assert "Free space, or name another folder with --out." in said
    assert "DSACTL_HOME" not in said
    # A link is not followed, wherever it leads.
    link, out = tmp_path / "link", tmp_path / "out"
    for target in (tmp_path / "nowhere", tmp_path / "empty"):
        link.symlink_to(target)
        assert f"{link} already exists and contains other files" in machine.run(*arguments, str(link), code=1).stderr
        link.unlink()
        (tmp_path / "empty").mkdir(exist_ok=True)
    out.mkdir()
    machine.run(*arguments, str(out))
    assert (out / "README.md").is_file()
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_dry_run_is_whole_or_not_there(
    machine: Machine, repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = machine.add()
    files = repository_files(machine.store, stored, repo, Notes(), [])
    write, left = Path.write_bytes, [3]

    def write_some(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(path, data)

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(registry.StoreError, match=r"No space left on device\. Free space, or .* `out`"):
        write_folder(tmp_path / "out", files)
    monkeypatch.undo()
    assert sorted(tmp_path.iterdir()) == before
    write_folder(tmp_path / "out", files)
    assert {str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.*")} == set(files)


def _change(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes() + b"more")


def _link(picture: Path) -> None:
    secret = picture.with_name("secret")
    secret.write_text("private")
    picture.unlink()
    picture.symlink_to(secret)


@pytest.mark.parametrize(
    ("spoil", "message"), [(_change, "was modified"), (_link, "was modified"), (Path.unlink, "is missing")]
)
def test_no_picture_is_published_but_the_sets_own(
    hub: LoopbackHub, machine: Machine, repo: str, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(machine.add().picture)
    for more in ((), ("--dry-run",)):
        said = machine.run("push", NAME, repo, *more, code=1).stderr
        assert f"The picture of {NAME}:1 {message}" in said
    assert hub.writes() == []


def test_the_card_of_an_imported_set_has_no_command(machine: Machine, repo: str, tmp_path: Path) -> None:
    torch.save([torch.randn(10, 1, 8, 8), torch.arange(10)], tmp_path / "res_DSA_digits_ConvNet_1ipc.pt")
    machine.run("import", str(tmp_path / "res_DSA_digits_ConvNet_1ipc.pt"), "--name", "theirs")
    machine.run("push", "theirs", repo, "--dry-run", "--out", str(tmp_path / "card"))
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "imported from: res\\_DSA" in text
    assert "dsactl condense" not in text


@pytest.mark.parametrize(
    ("method", "paper"),
    [("dsa", ["arxiv:2102.08259"]), ("dc", ["arxiv:2006.05929"]), ("random", []), ("imported", []), ("mtt", [])],
)
def test_the_paper_is_the_methods(machine: Machine, repo: str, tmp_path: Path, method: str, paper: list[str]) -> None:
    torch.save([torch.randn(10, 1, 8, 8), torch.arange(10)], tmp_path / "data.pt")
    machine.run("import", str(tmp_path / "data.pt"), "--dataset", "digits", "--method", method, "--name", "theirs")
    machine.run("push", "theirs", repo, "--dry-run", "--out", str(tmp_path / "card"))
    _, header, _ = (tmp_path / "card" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["tags"] == ["dataset-condensation", "dsactl", *paper]


def test_tiles_are_seen_decoded(machine: Machine, other: Machine, repo: str, tmp_path: Path) -> None:
    """In the viewer; what is pushed and pulled are the tiles."""
    machine.run("condense", "digits", "--ipc", "1", "--method", "random", "--formation", "2", "--name", "tiles")
    folder = tmp_path / "card"
    machine.run("push", "tiles", repo, "--dry-run", "--out", str(folder))
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header)["dataset_info"]["splits"][0]["num_examples"] == 40
    assert "40 labelled grey images of 8×8 pixels (stored as 10, of several tiles each) in 10 classes" in text
    pictures = pyarrow.parquet.read_table(folder / "data" / "train.parquet")
    assert pictures["label"].to_pylist() == [label for label in range(10) for _ in range(4)]
    assert load_file(folder / "set.safetensors")["images"].shape == (10, 1, 8, 8)
    decoded = dsactl.load("tiles", machine.store).pixels().squeeze(1).numpy()
    shown = np.stack([np.array(Image.open(io.BytesIO(each["bytes"]))) for each in pictures["image"].to_pylist()])
    np.testing.assert_allclose(shown / 255, decoded, rtol=0, atol=0.501 / 255)
    machine.run("push", "tiles", repo)
    other.run("pull", repo)
    assert torch.equal(dsactl.load(repo, other.store).images, dsactl.load("tiles", machine.store).images)


def test_the_card(machine: Machine, repo: str, tmp_path: Path) -> None:
    stored = machine.add(seed=7)
    folder = tmp_path / "card"
    machine.run("push", NAME, repo, "--license", "the pusher's own [terms]", "--dry-run", "--out", str(folder))
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "other"
    assert values["license_name"] == "the pusher's own [terms]"
    assert values["task_categories"] == ["image-classification"]
    assert values["annotations_creators"] == ["machine-generated"]
    assert values["size_categories"] == ["n<1K"]
    assert values["tags"] == ["dataset-condensation", "dsactl", "arxiv:2102.08259"]
    assert values["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.parquet"}]
    label = values["dataset_info"]["features"][1]["dtype"]["class_label"]
    assert label["names"] == dict(zip("012", NAMES, strict=True))
    clipped = levels(machine.store.tensors(stored), stored.manifest)[1]
    for part in (
        "dsactl condense digits --ipc 2 --precision float32 --seed 7\n",
        "| convnet | 88.5 ± 0.6 | 20 |  |",
        f'condensed = dsactl.pull("{repo}:1")',
        f'load_dataset("{repo}", revision="v1", split="train")',
        f"sha256:{stored.digest}",
        "](picture.png)",
        r"who pushed the set: the pusher's own \[terms\].",
        f"{clipped:,} of 384 pixel values",
    ):
        assert part in text


def test_the_code_on_the_card_runs(hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path) -> None:
    stored = machine.add()
    machine.run("push", NAME, repo)
    _, _, text = hub.repositories.all[repo].files("v1")["README.md"].decode().partition("## Load it")
    blocks = text.partition("\n## ")[0].split("\n\n")
    exact, pictures = (textwrap.dedent(block) for block in blocks if block.startswith("    "))
    code = f"{exact}\nprint(condensed.digest, tuple(images.shape))\n{pictures}\nprint(image.size, label)"
    home = {"DSACTL_HOME": str(tmp_path / "third"), "HF_DATASETS_CACHE": str(tmp_path / "datasets")}
    environment = {**os.environ, **machine.client, **home, "HF_TOKEN": TOKEN}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [f"{stored.digest} (6, 1, 8, 8)", "(8, 8) 0"]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_datasets_library_reads_it(
    hub: LoopbackHub, machine: Machine, repo: str, tmp_path: Path, channels: int
) -> None:
    stored = machine.add(channels=channels)
    machine.run("push", NAME, repo)
    code = f"""
import json
from datasets import load_dataset
rows = load_dataset("{repo}", revision="v1", split="train")
print(json.dumps({{
    "names": rows.features["label"].names,
    "labels": rows["label"][:],
    "modes": [image.mode for image in rows["image"]],
    "pixels": [list(image.tobytes()) for image in rows["image"]],
}}))
"""
    client = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "datasets"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **client, **NO_PROXY},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["names"] == NAMES
    assert read["labels"] == [0, 0, 1, 1, 2, 2]
    assert read["modes"] == ["L" if channels == 1 else "RGB"] * 6
    images, _ = levels(machine.store.tensors(stored), stored.manifest)
    np.testing.assert_array_equal(np.array(read["pixels"], np.uint8).reshape(images.shape), images)


def test_a_set_without_a_picture_takes_an_older_ones_away(
    hub: LoopbackHub, machine: Machine, other: Machine, repo: str
) -> None:
    first = machine.add()
    machine.run("push", NAME, repo)
    manifest = first.manifest.model_copy(update={"seed": 5})
    machine.store.put(first.name, machine.store.tensors(first), manifest)
    machine.run("push", NAME, repo)
    repository = hub.repositories.all[repo]
    assert Image.open(io.BytesIO(repository.files("v1")["picture.png"])).size == (8, 8)
    assert "picture.png" not in repository.files("v2")
    other.run("pull", repo)
    assert other.store.newest().picture is None
