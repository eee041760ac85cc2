"""Loading a dataset from the user's argument. Importing this does not import torch until a dataset is loaded."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsactl.data.catalogue import CATALOGUE
from dsactl.data.paths import check_folder, expand, is_folder
from dsactl.data.views import MAX_SIDE, MIN_SIDE, split_name, take
from dsactl.engine.arguments import check_real, check_seed, check_whole, check_word
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.errors import DataError, DsactlError, UnknownNameError, UsageError
from registry import extras

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset


def check_name(
    name: str, *, image_size: int | None = None, test_fraction: float | None = None, split_seed: int = 0
) -> None:
    """Check a dataset argument as far as possible without loading the dataset.

    Args:
        name, image_size, test_fraction, split_seed: see `load_dataset`.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        UsageError: a folder's option with a named dataset; an invalid view.
        DataError: the folder does not exist, or is a file.
        MissingPackageError: a package that the named dataset needs is not installed.
    """
    check_word("dataset", name)
    check_seed(split_seed, "split_seed")
    if image_size is not None:
        check_whole("image_size", image_size, MIN_SIDE, MAX_SIDE)
    if test_fraction is not None:
        check_real("test_fraction", test_fraction)
        if not 0 < test_fraction < 1:
            raise UsageError(f"`test_fraction` must be above 0 and below 1, not {test_fraction}.")
    if not name.strip():
        raise UsageError("The name of the dataset is empty.", "Give a name or a folder, `.` for the current one.")
    try:
        exists = Path(name).is_dir()
    except OSError as error:
        raise DataError(f"{name!r:.100} cannot be a dataset: {error.strerror}.", "Give a name or a folder.") from None
    if not exists:
        name, _ = split_name(name)
    if is_folder(name):
        check_folder(expand(name))
    elif name not in CATALOGUE:
        if Path(name).is_file():
            check_folder(Path(name))
        raise UnknownNameError("dataset", name, CATALOGUE, "List them: `datasets()`. Or give a folder.")
    elif image_size is not None or test_fraction is not None or split_seed:
        raise UsageError("`image_size`, `test_fraction` and `split_seed` are only for image folders.")
    elif name == "svhn":
        extras.require(name, "svhn", "scipy")


def check_no_folder_options(**given: object) -> None:
    """Check that no folder's options are given without a folder.

    Args:
        given: the options by parameter name; None for those that are not given.

    Raises:
        UsageError: an option is given.
    """
    if named := [f"`{name}`" for name, value in given.items() if value is not None]:
        raise UsageError(f"Without `data`, {' and '.join(named)} would have no effect.", "Give the folder as `data`.")


def load_dataset(
    name: str | Path,
    *,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> "Dataset":
    """Load a named dataset or an image folder.

    Args:
        name: a name of the catalogue, or a folder (see `folder.load_folder`); either may have views (`views`).
        image_size: side in pixels to which a folder's images are resized.
        test_fraction: share of a folder's images that is held out for testing if it has no `test` folder.
        split_seed: seed of that split.
        progress: the meter, which counts the images of a folder that are read.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        UsageError: a folder's option with a named dataset; an invalid view, or one that does not fit.
        DataError: the dataset is missing, damaged or unsuitable.

    Examples:
        >>> import dsactl
        >>> dsactl.load_dataset("digits")
        Dataset(digits, 1×8×8, 10 classes, 1,437 training and 360 test images)
        >>> dsactl.load_dataset("digits@classes0-4").class_names
        ('0', '1', '2', '3', '4')
    """
    name = str(name) if isinstance(name, Path) else name
    check_name(name, image_size=image_size, test_fraction=test_fraction, split_seed=split_seed)
    given = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    return _load(name, {**given, "progress": progress})


def load_again(name: str, checksum: str, **how: Any) -> "Dataset":
    """Load the dataset that a set was made from.

    A folder is read by the rules of dsactl 0.1 if that, and not the present ones, gives the set's training images.

    Args:
        name: see `load_dataset`.
        checksum: of the training images that the set was made from.
        how: further arguments of `load_dataset`.

    Raises:
        DsactlError: see `load_dataset`.
    """
    failure: DsactlError | None = None
    try:
        found = load_dataset(name, **how)
        if found.train.checksum() == checksum or not is_folder(name):
            return found
    except DsactlError as error:
        failure = error
    if is_folder(name):
        with contextlib.suppress(DsactlError):
            earlier = _load(name, {**how, "as_before": True})
            if earlier.train.checksum() == checksum:
                return earlier
    if failure is not None:
        raise failure
    return found


def _load(name: str, how: dict[str, Any]) -> "Dataset":
    """Load a dataset; the arguments are those of `folder.load_folder`."""
    if not Path(name).is_dir():
        base, views = split_name(name)
        if views:
            return take(_load(base, how), views)
    if is_folder(name):
        from dsactl.data.folder import load_folder

        return load_folder(expand(name), **how)
    if name == "digits":
        from dsactl.data.digits import load_digits

        return load_digits()
    from dsactl.data.torchvision_sets import load_torchvision

    return load_torchvision(name)


def check_counts(dataset: "Dataset", ipc: int, *, formation: int = 1, short_classes: str = "refuse") -> None:
    """Check that a dataset has enough classes and images to be condensed.

    Args:
        dataset: loaded.
        ipc: images per class.
        formation, short_classes: see `dsactl.recipes.recipe.Recipe`.

    Raises:
        DataError: fewer than two classes, or a class with fewer than `ipc` training images, or than F² times as many
            for formation F; without any, unless such classes are refused.
    """
    if dataset.classes < 2:
        raise DataError(f"{dataset.name} has {dataset.classes} class; condensing needs at least two.")
    counts, tiles = dataset.train.counts, formation**2
    fewest, needed = min(counts), ipc * tiles
    if fewest >= (needed if short_classes == "refuse" else 1):
        return
    name, short = dataset.class_names[counts.index(fewest)], sum(count < needed for count in counts)
    images = "image" if fewest == 1 else "images"
    number = f"`ipc={ipc}`" if tiles == 1 else f"{needed} (`ipc={ipc}`, `formation={formation}`)"
    said = f"Class {name!r} of {dataset.name} has {fewest} training {images}, fewer than {number}."
    if short > 1:
        said = (
            f"{short} of the {dataset.classes} classes of {dataset.name} have fewer than {number} training images; "
            f"the smallest, {name!r}, has {fewest}."
        )
    kept = " Without a test folder, `test_fraction` of each class is held out for testing." if dataset.remark else ""
    repeat = ', or repeat them: `condense(..., short_classes="repeat")`' if fewest else ""
    way = (
        f"Use `ipc={max(1, fewest // tiles)}` or less" if fewest >= tiles or tiles == 1 else "Use a smaller `formation`"
    )
    raise DataError(said, f"{way}, or add images{repeat}.{kept}")
