"""Loaders on small files of the published formats, on damaged files, and on the real datasets if available."""

import bz2
import hashlib
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from conftest import SHARED
from samples import write_idx

from dsactl.data.catalogue import CATALOGUE, missing_files
from dsactl.data.load import load_dataset
from dsactl.errors import DataError

SOURCE = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("DSACTL_DATA", str(root))
    return root


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_idx_files(data: Path, name: str, folder: str) -> None:
    arrays = write_idx(data, folder)
    found = load_dataset(name)
    assert (found.train.counts, found.test.counts) == ((3,) * 10, (2,) * 10)
    assert torch.equal(found.train.images_NCHW[0, 0], torch.from_numpy(arrays["train"][0]))
    assert torch.equal(found.test.images_NCHW[-1, 0], torch.from_numpy(arrays["t10k"][19]))
    assert (found.mean, found.std) == (CATALOGUE[name].mean, CATALOGUE[name].std)
    assert found.mirrored == (name == "fashionmnist")
    assert found.class_names[0] == ("0" if name == "mnist" else "T-shirt/top")


def test_svhn_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = {}
    lists = {name: list(entry) for name, entry in torchvision.datasets.SVHN.split_list.items()}
    for split, count in (("train", 30), ("test", 20)):
        pixels[split] = SOURCE.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).reshape(-1, 1).astype(np.uint8)  # SVHN labels zero as 10
        scipy.io.savemat(data / f"{split}_32x32.mat", {"X": pixels[split], "y": labels})
        lists[split][2] = md5(data / f"{split}_32x32.mat")
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists)
    found = load_dataset("svhn")
    assert (found.train.counts, found.test.counts) == ((3,) * 10, (2,) * 10)
    assert (found.channels, found.size) == (3, (32, 32))
    assert not found.mirrored
    # The first image is a one; grouped by class, the zeros, labelled 10, come first.
    assert torch.equal(found.train.images_NCHW[3], torch.from_numpy(pixels["train"][..., 0]).permute(2, 0, 1))
    assert torch.equal(found.train.images_NCHW[0], torch.from_numpy(pixels["train"][..., 9]).permute(2, 0, 1))


def test_usps_files(data: Path) -> None:
    pixels = {}
    for file, count in (("usps.bz2", 30), ("usps.t.bz2", 20)):
        pixels[file] = SOURCE.uniform(-1, 1, (count, 256)).round(6)
        with bz2.open(data / file, "wt") as written:
            for index, row in enumerate(pixels[file]):
                values = " ".join(f"{place}:{value}" for place, value in enumerate(row, 1))
                written.write(f"{index % 10 + 1} {values} \n")  # USPS labels zero as 1
    found = load_dataset("usps")
    assert (found.train.counts, found.test.counts) == ((3,) * 10, (2,) * 10)
    assert (found.channels, found.size) == (1, (16, 16))
    assert found.class_names == tuple("0123456789")
    assert not found.mirrored
    for part, file, index in ((found.train, "usps.bz2", 10), (found.test, "usps.t.bz2", 10)):
        expected = torch.from_numpy((pixels[file][index] + 1) / 2 * 255).view(16, 16)
        assert (part.images_NCHW[1, 0] - expected).abs().max() <= 1, "the second zero"
    (data / "usps.t.bz2").write_bytes((data / "usps.t.bz2").read_bytes()[:-100])
    with pytest.raises(DataError, match="files of USPS are damaged or incomplete"):
        load_dataset("usps")


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_files(data: Path, monkeypatch: pytest.MonkeyPatch, name: str, classes: int) -> None:
    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    folder = data / kind.base_folder
    folder.mkdir()
    key = "labels" if name == "cifar10" else "fine_labels"
    first = {}

    def write(file: str, content: object) -> str:
        (folder / file).write_bytes(pickle.dumps(content))
        return md5(folder / file)

    sums = {}
    for file, _ in (*kind.train_list, *kind.test_list):
        first[file] = SOURCE.integers(0, 256, (2 * classes, 3072), dtype=np.uint8)
        sums[file] = write(file, {"data": first[file], key: [i % classes for i in range(2 * classes)]})
    names = [f"name {index}" for index in range(classes)]
    meta = dict(kind.meta)
    meta["md5"] = write(meta["filename"], {meta["key"]: names})
    monkeypatch.setattr(kind, "train_list", [[file, sums[file]] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, sums[file]] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", meta)
    found = load_dataset(name)
    assert found.class_names == tuple(names)
    assert found.test.counts == (2,) * classes
    expected = first[kind.train_list[0][0]][0].reshape(3, 32, 32)
    assert torch.equal(found.train.images_NCHW[0], torch.from_numpy(expected))
    damaged = folder / kind.test_list[0][0]
    damaged.write_bytes(damaged.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"are damaged or incomplete \(Dataset not found or corrupted"):
        load_dataset(name)


@pytest.mark.parametrize("keep", [0, 10, 16, 1000, -1])
def test_cut_off_idx_files_are_refused(data: Path, keep: int) -> None:
    write_idx(data, "MNIST")
    path = data / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"files of MNIST are damaged or incomplete .*Delete them") as error:
        load_dataset("mnist")
    assert str(path) in str(error.value)


def test_files_that_do_not_belong_together_are_refused(data: Path) -> None:
    write_idx(data, "MNIST")
    raw = data / "MNIST" / "raw"
    shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / "train-labels-idx1-ubyte")
    with pytest.raises(DataError, match="with 20 labels"):
        load_dataset("mnist")
    bad = struct.pack(">II", 2049, 30) + bytes([200] * 30)
    (raw / "train-labels-idx1-ubyte").write_bytes(bad)
    with pytest.raises(DataError, match=r"labels outside of 0 … 9"):
        load_dataset("mnist")


def test_what_is_missing_says_which_file_goes_where(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that does not respond, so that downloads fail at once.
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for name, file in (
        ("svhn", "test_32x32.mat"),
        ("cifar100", "cifar-100-python/train"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("usps", "usps.t.bz2"),
    ):
        assert missing_files(name)
        with pytest.raises(DataError, match="is not on this machine and could not be downloaded") as error:
            load_dataset(name)
        assert str(data / file) in str(error.value)
        assert "DSACTL_DATA" in str(error.value)


@pytest.mark.usefixtures("real_data")
def test_packed_idx_files_are_unpacked_without_a_download(data: Path) -> None:
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (SHARED / "data" / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(file, raw)
    assert len(load_dataset("mnist").train) == 60000


@pytest.mark.parametrize("name", ["mnist", "fashionmnist", "cifar10", "usps"])
def test_the_real_sets_are_what_the_catalogue_says(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSACTL_DATA", str(real_data))
    entry, found = CATALOGUE[name], load_dataset(name)
    assert (len(found.train), len(found.test)) == (entry.train, entry.test)
    assert (found.channels, found.size, found.classes) == (entry.channels, entry.size, entry.classes)
    # The normalisation constants are those of these images.
    sample = found.normalise(found.train.images_NCHW[:: max(1, len(found.train) // 3000)])
    assert sample.mean().item() == pytest.approx(0, abs=0.05)
    assert sample.std().item() == pytest.approx(1, abs=0.25)
