"""Export and import of sets through the command line."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peak
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import dsactl
import registry
from dsactl.data.load import load_dataset
from registry.parquet import read_parquet
from registry.pictures import grid_png
from registry.tensors import MANIFEST_KEY, describe, encode

Program = Callable[..., "subprocess.CompletedProcess[str]"]
Answer = tuple[int, str, str]

NAME = "digits-random-ipc2"
SIZE = ("--networks", "1", "--epochs", "2")


@pytest.fixture
def made() -> registry.StoredSet:
    """Store a set of real digits."""
    dsactl.condense("digits", ipc=2, method="random")
    return registry.Store().find(registry.parse_reference(NAME))


def answer(done: "subprocess.CompletedProcess[str]") -> object:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("form", ["folder", "parquet", "png"])
def test_pictures_of_a_set_with_tiles_are_decoded(cli: Callable[..., Answer], tmp_path: Path, form: str) -> None:
    made = dsactl.condense("digits", ipc=1, method="random", formation=2)
    path = tmp_path / f"set.{form}"
    code, _, said = cli("export", "digits-random-ipc1-formation2", "--format", form, "--output", str(path))
    assert code == 0
    assert "The 40 images of the set are exported, decoded from the 10 that are stored." in said
    levels = (made.pixels() * 255).round().byte()[:, 0].numpy()
    if form == "folder":
        files = [path / str(label) / f"{index:03d}.png" for label in range(10) for index in range(4)]
        assert sorted(path.rglob("*.png")) == files
        assert all((np.asarray(Image.open(file)) == level).all() for file, level in zip(files, levels, strict=True))
    elif form == "parquet":
        content = read_parquet(path)
        assert (content["images"][..., 0] == levels).all()
        assert content["labels"].tolist() == made.labels.tolist()
        assert MANIFEST_KEY not in content
    else:
        assert path.read_bytes() == grid_png(made.images.numpy(), made.labels.numpy(), made.mean, made.std)


def test_every_format_in_every_mode(program: Program, made: registry.StoredSet, tmp_path: Path) -> None:
    images, labels = (load_file(made.file)[name] for name in ("images", "labels"))
    info = made.manifest.dataset
    levels = np.rint((images * info.std[0] + info.mean[0]) * 255).astype(np.uint8)

    done = program("export", NAME)
    assert done.stdout == f"Wrote {NAME}-v1.safetensors\n"
    assert done.stderr == ""  # nothing was clipped
    assert (tmp_path / f"{NAME}-v1.safetensors").read_bytes() == made.file.read_bytes()

    done = program("export", NAME, "--output", "set.npz", "--quiet")
    assert (done.stdout, done.stderr) == ("set.npz\n", "")
    with np.load(tmp_path / "set.npz", allow_pickle=False) as arrays:
        assert (arrays["images"] == images).all()
        assert (arrays["labels"] == labels).all()

    value = answer(
        program("export", NAME, "--format", "npz", "--space", "pixels", "-o", "set.npz", "--force", "--json")
    )
    path = str(tmp_path / "set.npz")
    assert value == {"reference": f"{NAME}:1", "path": path, "format": "npz", "clipped": 0, "values": images.size}
    with np.load(tmp_path / "set.npz", allow_pickle=False) as arrays:
        assert (arrays["images"] == levels.transpose(0, 2, 3, 1)).all()

    assert program("export", NAME, "--format", "folder", "-o", "out/set").returncode == 0
    assert len(list((tmp_path / "out" / "set").glob("[0-9]/00[01].png"))) == 20
    assert (np.asarray(Image.open(tmp_path / "out" / "set" / "3" / "001.png")) == levels[7, 0]).all()

    done = program("export", NAME, "--format", "folder", "-o", "out/set")
    assert done.returncode == 1
    assert "Error: out/set already exists.\n  Replace it with --force" in done.stderr
    for form in ("png", "parquet"):
        assert program("export", NAME, "-f", form, "-o", "out").returncode == 0  # into the folder
        assert (tmp_path / "out" / f"{NAME}-v1.{form}").stat().st_size > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "np"), "Unknown format 'np'.*Did you mean 'npz'"),
        (("--output", "set.zip"), r"Unknown file extension: \.zip\..*Add --format"),
        (("--output", "set"), "set has no file extension"),
        (("--output", "-", "--format", "npz"), "not to standard output.*Give a name with --output"),
        (("--format", "png", "--space", "normalised"), "8-bit pictures, which are pixels.*Leave --space out"),
        (("--space", "pixels"), "numbers that are normalised.*Leave --space out"),
        (("--space", "8bit", "--format", "npz"), "Unknown space '8bit'"),
        (("--space", "pixels", "--output", "set.pt"), "numbers that are normalised.*Leave --space out"),
    ],
)
def test_bad_options_of_export(
    cli: Callable[..., Answer],
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("export", "mnist-dsa-convnet-ipc1", *arguments)
    assert code == 2
    assert re.search(message, err.replace("\n  ", " ")), err
    assert not list(tmp_path.iterdir())


def test_bundled_sets_are_exported_and_clipping_is_said(program: Program, tmp_path: Path) -> None:
    done = program("export", "mnist-dsa-convnet-ipc1", "--format", "folder")
    assert done.returncode == 0
    assert "of 7,840 pixel values (" in done.stderr
    assert "were outside 0…1 and clipped" in done.stderr
    assert len(list(tmp_path.glob("mnist-dsa-convnet-ipc1-v*/[0-9]/000.png"))) == 10


def test_a_set_comes_back_in_another_store(program: Program, made: registry.StoredSet, tmp_path: Path) -> None:
    assert program("export", NAME, "-o", "set.safetensors").returncode == 0
    other = {"DSACTL_HOME": str(tmp_path / "other")}
    (value,) = answer(program("import", "set.safetensors", "--json", **other))  # type: ignore[misc]
    assert value["reference"] == f"{NAME}:1"
    assert value["digest"] == made.digest
    assert answer(program("evaluate", NAME, *SIZE, "--json", **other))["digest"] == made.digest  # type: ignore[index]


def test_a_folder_comes_back_to_within_rounding(program: Program, made: registry.StoredSet) -> None:
    assert program("export", NAME, "--format", "folder", "-o", "set").returncode == 0
    done = program("import", "set", "--dataset", "digits", "--name", "back")
    assert done.returncode == 0, done.stderr
    assert "Stored back:1  20×1×8×8, @sha256:" in done.stdout
    assert "Next: dsactl evaluate back:1" in done.stderr
    store = registry.Store()
    back = store.tensors(store.find(registry.parse_reference("back")))
    before = store.tensors(made)
    assert (back["labels"] == before["labels"]).all()
    assert np.abs(back["images"] - before["images"]).max() <= 0.5001 / 255 / made.manifest.dataset.std[0]


def test_the_authors_file_is_evaluated_like_our_own(program: Program, tmp_path: Path) -> None:
    dataset = load_dataset("digits")
    ours = [dataset.at(torch.tensor(dataset.train.starts) + index) for index in range(2)]
    content = {"data": [[images, torch.arange(10)] for images in ours], "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}
    for new in (True, False):
        path = tmp_path / "res_DSA_digits_ConvNet_1ipc.pt"
        torch.save(content, path, _use_new_zipfile_serialization=new)
        done = program("import", str(path), "--quiet")
        assert done.stdout == "digits-dsa-convnet-ipc1:1\ndigits-dsa-convnet-ipc1:2\n", done.stderr
    done = program("show", "digits-dsa-convnet-ipc1:2")
    assert "res_DSA_digits_ConvNet_1ipc.pt" in done.stdout
    done = program("evaluate", "digits-dsa-convnet-ipc1:2", *SIZE)
    assert done.returncode == 0, done.stderr
    assert "2 epochs, augmentation dsa color crop cutout scale rotate" in done.stderr


def test_bad_files_give_one_clear_line(
    cli: Callable[..., Answer], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Malicious:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'mark'}",)

    torch.save({"data": Malicious()}, tmp_path / "bad.pt")
    (tmp_path / "text.pt").write_text("text")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("bad.pt", "bad.pt is not read: it would load 'posix.system'"),
        ("text.pt", "text.pt is a text file, not a set"),
        ("none.pt", "There is no none.pt"),
        ("empty", "empty contains no pictures"),
    ):
        code, out, err = cli("import", name, "--dataset", "digits")
        assert (code, out) == (1, "")
        assert f"Error: {message}" in err
        assert len(err.splitlines()) <= 2
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "home" / "sets").exists()
    assert program("import", "text.pt").returncode == 1, "before it is asked what it stands for"


def write_set(path: Path, images: "np.ndarray", classes: int) -> int:
    """Return a set's file and its size in bytes."""
    tensors = {"images": images, "labels": np.sort(np.arange(len(images)) % classes)}
    manifest = registry.Manifest(
        dataset=registry.DatasetInfo(
            name="many",
            split="train",
            checksum="0" * 64,
            class_names=[str(label) for label in range(classes)],
            mean=[0.5] * images.shape[1],
            std=[0.25] * images.shape[1],
            counts=[1] * classes,
        ),
        method="mtt",
        recipe={},
        network=None,
        seed=0,
        tensors=describe(tensors),
        provenance={},
    )
    path.write_bytes(encode(tensors, manifest))
    return path.stat().st_size


_IMPORT = """
import registry
from dsactl.synthetic.importing.sets import Source, import_sets

store = registry.Store(Path(sys.argv[1]))
import_sets(Path(sys.argv[2]), Source(name="small"), store)
print(peak(lambda: import_sets(Path(sys.argv[3]), Source(name="large"), store)))
"""


@peak.needs_proc
@pytest.mark.parametrize(
    ("shape", "classes", "slack"),
    [
        ((20_000, 1, 28, 28), 10, 6),
        # The preview is bounded: here it has the most pixels allowed, at one byte each, or four in colour.
        ((20_000, 1, 1, 1), 20_000, 8 + 6),
        ((20_000, 3, 1, 1), 20_000, 32 + 6),
    ],
)
def test_importing_takes_about_twice_the_file(tmp_path: Path, shape: tuple[int, ...], classes: int, slack: int) -> None:
    source, large, small = np.random.default_rng(0), tmp_path / "large.safetensors", tmp_path / "small.safetensors"
    size = write_set(large, source.normal(size=shape).astype(np.float32), classes)
    write_set(small, source.normal(size=(4, *shape[1:])).astype(np.float32), 2)
    rise = int(peak.run(_IMPORT, tmp_path / "home", small, large))
    assert rise < 2 * size + slack * 2**20
