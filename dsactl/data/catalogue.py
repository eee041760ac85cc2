"""The catalogue of named datasets. Importing this does not import torch."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from dsactl.data.views import base_name
from registry.folders import named_folder


@dataclass(frozen=True)
class CatalogueEntry:
    """An entry of the catalogue.

    Attributes:
        title: the authors' spelling of the name.
        train, test: numbers of images.
        channels, size, classes: C, (H, W), K.
        mirrored: whether a mirrored image keeps its class; false for digits, which are not augmented by flips.
        mean, std: per channel, the reference's constants for images in 0 … 1; None if they are measured.
        files: required files, relative to the data folder; listed in the message if they are missing.
        page: web page for downloading the files by hand.
    """

    title: str
    train: int
    test: int
    channels: int
    size: tuple[int, int]
    classes: int
    mirrored: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    files: tuple[str, ...] = ()
    page: str = ""


def _idx(folder: str) -> tuple[str, ...]:
    return tuple(
        f"{folder}/raw/{part}"
        for part in (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        )
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    "digits": CatalogueEntry("Optical digits (UCI)", 1437, 360, 1, (8, 8), 10, mirrored=False),
    "mnist": CatalogueEntry(
        "MNIST",
        60000,
        10000,
        1,
        (28, 28),
        10,
        False,
        (0.1307,),
        (0.3081,),
        _idx("MNIST"),
        "github.com/cvdfoundation/mnist",
    ),
    "fashionmnist": CatalogueEntry(
        "FashionMNIST",
        60000,
        10000,
        1,
        (28, 28),
        10,
        True,
        (0.2861,),
        (0.3530,),
        _idx("FashionMNIST"),
        "github.com/zalandoresearch/fashion-mnist",
    ),
    "svhn": CatalogueEntry(
        "SVHN",
        73257,
        26032,
        3,
        (32, 32),
        10,
        False,
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
        ("train_32x32.mat", "test_32x32.mat"),
        "ufldl.stanford.edu/housenumbers",
    ),
    "cifar10": CatalogueEntry(
        "CIFAR-10",
        50000,
        10000,
        3,
        (32, 32),
        10,
        True,
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
        tuple(
            f"cifar-10-batches-py/{name}"
            for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
        ),
        "www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "cifar100": CatalogueEntry(
        "CIFAR-100",
        50000,
        10000,
        3,
        (32, 32),
        100,
        True,
        (0.5071, 0.4866, 0.4409),
        (0.2673, 0.2564, 0.2762),
        tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        "www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "usps": CatalogueEntry(
        "USPS",
        7291,
        2007,
        1,
        (16, 16),
        10,
        False,
        files=("usps.bz2", "usps.t.bz2"),
        page="www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets",
    ),
}


def datasets() -> list[str]:
    """Return the names of all datasets.

    Examples:
        >>> import dsactl
        >>> "cifar10" in dsactl.datasets()
        True
    """
    return list(CATALOGUE)


def data_root() -> Path:
    """Return the data folder: $DSACTL_DATA, or `data` in the user's cache folder.

    Raises:
        registry.StoreError: neither is known.
    """
    return named_folder("DSACTL_DATA", lambda: platformdirs.user_cache_path("dsactl") / "data")


def missing_files(name: str) -> list[Path]:
    """Return the files of a named dataset that are missing from the data folder; none for an image folder."""
    root, entry = data_root(), entry_of(name)
    return [root / file for file in (entry.files if entry else ()) if not (root / file).is_file()]


def entry_of(name: str) -> CatalogueEntry | None:
    """Return the entry of a named dataset or of a view's base; None for an image folder."""
    return CATALOGUE.get(base_name(name))


def is_mirrored(name: str) -> bool:
    """Return whether mirrored images of a dataset keep their class; assumed for image folders."""
    entry = entry_of(name)
    return entry is None or entry.mirrored


def keeps_mirrored(class_names: Iterable[str]) -> bool:
    """Return whether mirrored images are taken to keep their class: not if all classes are digits or single letters."""
    return not all(len(name) == 1 and unicodedata.category(name) in ("Nd", "Ll", "Lu") for name in class_names)
