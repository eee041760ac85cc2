"""From what a user typed to a data set. Importing this imports no torch before one is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from dsactl.data.catalogue import CATALOGUE, entry_of
from dsactl.data.views import base_name, split_name, take
from dsactl.errors import DataError, UnknownNameError, UsageError
from registry import extras

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset


def is_folder(name: str) -> bool:
    """Whether a DATASET argument means a folder: it has a path separator, or is no known name and exists."""
    if "/" in name or "\\" in name or name in (".", ".."):
        return True
    return entry_of(name) is None and any(Path(each).is_dir() for each in (name, base_name(name)))


def check_name(
    name: str, *, image_size: int | None = None, test_fraction: float | None = None, split_seed: int = 0
) -> None:
    """Refuse what can be seen to be no data set before one is loaded.

    Args:
        name, image_size, test_fraction, split_seed: as of `load_dataset`.

    Raises:
        UnknownNameError: neither a name nor a folder.
        UsageError: a folder's option with a named set; a view that is none.
        DataError: a folder that is not there.
        MissingPackageError: a named set that cannot be read without a package which is not installed.
    """
    if not Path(name).is_dir():
        name, _ = split_name(name)
    if is_folder(name):
        check_folder(Path(name))
    elif name not in CATALOGUE:
        raise UnknownNameError("data set", name, CATALOGUE, "List them with: dsactl datasets. Or name a folder.")
    elif image_size is not None or test_fraction is not None or split_seed:
        raise UsageError("--image-size, --test-fraction and --split-seed are for image folders alone.")
    elif name == "svhn":
        extras.require(name, "svhn", "scipy")


def check_without_folder(**given: object) -> None:
    """Refuse options of a folder where none is named.

    Args:
        given: the options, None for those that are not given.

    Raises:
        UsageError: there are some.
    """
    if named := [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]:
        raise UsageError(
            f"Without --data, {' and '.join(named)} would change nothing.", "Name the folder with --data FOLDER."
        )


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        DataError: it is a file, or nothing.
    """
    if not folder.expanduser().is_dir():
        raise DataError(f"{folder.expanduser()} is not a folder.", "Give a folder with one sub-folder per class.")


def load_dataset(
    name: str, *, image_size: int | None = None, test_fraction: float | None = None, split_seed: int = 0
) -> "Dataset":
    """Load a named data set or an image folder.

    Args:
        name: a name of the catalogue, or a folder (see `folder.load_folder`); either with views (`views`).
        image_size: side in pixels that a folder's images are brought to.
        test_fraction: share of a folder's images that is kept for testing, where it has no `test` of its own.
        split_seed: seed of that split.

    Raises:
        UnknownNameError: neither a name nor a folder.
        UsageError: a folder's option with a named set; a view that is none, or does not fit.
        DataError: missing, damaged or unfit.
    """
    check_name(name, image_size=image_size, test_fraction=test_fraction, split_seed=split_seed)
    if not Path(name).is_dir():
        base, views = split_name(name)
        if views:
            whole = load_dataset(base, image_size=image_size, test_fraction=test_fraction, split_seed=split_seed)
            return take(whole, views)
    if is_folder(name):
        from dsactl.data.folder import load_folder

        return load_folder(Path(name), image_size=image_size, test_fraction=test_fraction, split_seed=split_seed)
    if name == "digits":
        from dsactl.data.digits import load_digits

        return load_digits()
    from dsactl.data.torchvision_sets import load_torchvision

    return load_torchvision(name)


def check_counts(dataset: "Dataset", ipc: int) -> None:
    """Refuse what cannot be condensed.

    Raises:
        DataError: fewer than two classes, or a class with fewer than `ipc` training images.
    """
    if dataset.classes < 2:
        raise DataError(f"{dataset.name} has {dataset.classes} class; condensing needs at least two.")
    smallest = min(range(dataset.classes), key=lambda label: dataset.train.counts[label])
    if dataset.train.counts[smallest] < ipc:
        kept = " Without a test folder, --test-fraction of each class is kept for testing." if dataset.remark else ""
        raise DataError(
            f"Class {dataset.class_names[smallest]!r} of {dataset.name} has {dataset.train.counts[smallest]} training "
            f"images, fewer than --ipc {ipc}.",
            f"Use --ipc {max(1, dataset.train.counts[smallest])} or less, or add images.{kept}",
        )
