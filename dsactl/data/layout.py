"""The layout of an image folder: its splits, its classes, and the names that follow from it. No torch, no pixels.

FOLDER/CLASS/*.png                                  part of every class is held out for testing
FOLDER/train/CLASS/*.png, FOLDER/test/CLASS/*.png   splits of its own; `val` serves if there is no `test`
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dsactl.data.catalogue import CATALOGUE, is_mirrored, keeps_mirrored
from dsactl.data.paths import expand, is_folder
from dsactl.data.pictures import READ, endings
from dsactl.data.views import base_name
from dsactl.errors import DataError
from dsactl.text.formatting import many

Files = dict[str, list[Path]]
"""Class name → its image files, sorted."""

MAX_NAME_LENGTH = 200
_NAMED = 5  # hidden folders in a sentence

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
}
"""The names of splits, in any case."""
_GENERIC = {*_SPLITS, "data", "dataset", "datasets", "image", "images", "img", "imgs"}
"""Names that say nothing about a dataset."""
_OF_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
"""Folders that operating systems and archive programs leave behind."""
_EARLIER_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True)
class Layout:
    """Which files of a folder are images of which class and split.

    Attributes:
        train, test: the splits; `test` is None if it must be held out of `train`.
        test_name: name of the folder that is taken as the test split.
        notes: sentences on what was taken for what.
        skipped: numbers of files and folders that are no images of a class, by their kind.
    """

    train: Files
    test: Files | None = None
    test_name: str = ""
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Listing:
    """The content of a folder, sorted: sub-folders, images, the kinds of other files, and hidden sub-folders."""

    folders: list[Path]
    pictures: list[Path]
    others: Counter[str]
    hidden: list[Path]

    @property
    def skipped(self) -> Counter[str]:
        """What is skipped in a class folder."""
        return self.others + Counter({"sub-folder": len(self.folders)} if self.folders else {})


def read_layout(folder: Path, *, as_before: bool = False) -> Layout:
    """Find the splits and classes of a folder.

    A sub-folder called train, test or val, in any case, is a split if it has class folders; otherwise it is a class.
    Classes are in the order of their names: numerical if all are numbers, else alphabetical.

    Args:
        folder: exists.
        as_before: go by the rules of dsactl 0.1 (see `load_folder`).

    Raises:
        DataError: no classes; a class without images, or with a name that cannot be stored; a `train` without `test`.
    """
    return _Reader(_EARLIER_ENDINGS if as_before else endings(), as_before=as_before).layout(folder)


class _Reader:
    def __init__(self, known: frozenset[str], *, as_before: bool) -> None:
        self._known, self._as_before = known, as_before

    def layout(self, folder: Path) -> Layout:
        here = self._list(folder)
        splits = self._splits(folder, here)
        if not splits:
            if len(here.folders) == 1 and not here.pictures:
                (only,) = here.folders
                if self._splits(only, self._list(only)):
                    raise DataError(f"{folder} has no class folders.", f"Did you mean {only}?")
            train, skipped = self._classes(folder, here)
            return Layout(train, notes=self._left_out(here), skipped=skipped + _outside(here))
        (given,) = splits["train"]
        listed = self._list(given)
        train, skipped = self._classes(given, listed)
        spare = splits.get("validation", [])
        if "test" not in splits and not spare:
            others = [each for each in here.folders if each != given and self._has_classes(each)]
            rename = f", rename {_names(others)} to test" if len(others) == 1 else ""
            raise DataError(
                f"{folder} has a {given.name} folder and no test folder.",
                f"Add test/CLASS/…{rename}, or give {given}, so that part of it is held out for testing.",
            )
        (tested,) = splits.get("test", spare)
        listed_test = self._list(tested)
        test, more = self._classes(tested, listed_test)
        notes: tuple[str, ...] = (f"{tested.name} is taken as the test split.",) if tested in spare else ()
        if unused := [each for each in here.folders if each not in (given, tested) and self._has_classes(each)]:
            verb = "is" if len(unused) == 1 else "are"
            notes += (f"{_names(unused)} {verb} not used, since there is a {tested.name} folder.",)
        notes += self._left_out(listed, listed_test)
        return Layout(
            train, _matched(folder, train, test), tested.name, notes, skipped + more + _outside(listed, listed_test)
        )

    def _splits(self, folder: Path, here: _Listing) -> dict[str, list[Path]]:
        """Return the split folders by what they are; none if there is no `train` among them."""
        found: dict[str, list[Path]] = {}
        for each in here.folders:
            name = each.name if self._as_before else each.name.casefold()
            if name in _SPLITS and self._has_classes(each):
                found.setdefault(_SPLITS[name], []).append(each)
        if "train" not in found or (set(found) == {"train"} and self._list(found["train"][0]).pictures):
            return {}  # a class of this name, with sub-folders
        for what in ("train", "test" if "test" in found else "validation"):
            if len(found.get(what, ())) > 1:
                raise DataError(f"{folder} has several {what} folders: {_names(found[what])}.", "Keep one of them.")
        return found

    def _classes(self, folder: Path, listed: _Listing) -> tuple[Files, Counter[str]]:
        """Return the images of every class, in the order of the classes, and what was skipped."""
        found: Files = {}
        skipped = Counter[str]()
        for path in listed.folders:
            inside = self._list(path)
            if not inside.pictures:
                hint = f"{READ}{_has(inside.skipped)}"
                if path.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
                    raise DataError(f"{path} is a link to a folder that it is in.", "Remove the link.")
                if self._has_classes(path):
                    hint = f"Each sub-folder of the given folder is a class. Did you mean {path}?"
                raise DataError(f"{path} has no images.", hint)
            if not path.name.isprintable() or len(path.name) > MAX_NAME_LENGTH:
                raise DataError(
                    f"{str(path)!r:.300} has a name that cannot be stored.",
                    f"Rename the folder: at most {MAX_NAME_LENGTH} printable characters.",
                )
            found[path.name] = inside.pictures
            skipped += inside.skipped
        if not found:
            hint = "Give a folder with one sub-folder of images per class."
            raise DataError(f"{folder} has no class folders.", " ".join([hint, *self._left_out(listed)]))
        return {name: found[name] for name in self._in_order(found)}, skipped

    def _in_order(self, names: Iterable[str]) -> list[str]:
        names = list(names)
        if self._as_before or not all(re.fullmatch(r"[0-9]+", name) for name in names):
            return names
        return sorted(names, key=lambda name: (int(name), name))

    def _has_classes(self, folder: Path) -> bool:
        """Return whether a folder has sub-folders with images."""
        return any(self._list(each).pictures for each in self._list(folder).folders)

    def _left_out(self, *listings: _Listing) -> tuple[str, ...]:
        """Return a sentence on the hidden folders beside class folders that have images; none if there are none."""
        hidden = dict.fromkeys(each.name for listing in listings for each in listing.hidden if self._has_image(each))
        if not hidden:
            return ()
        named = ", ".join(list(hidden)[:_NAMED]) + (", …" if len(hidden) > _NAMED else "")
        return (f"Left out, since names that begin with a dot are hidden: {named}. Rename what is a class.",)

    def _has_image(self, folder: Path) -> bool:
        """Return whether there is an image in a folder; looks no further than the first."""
        try:
            with os.scandir(folder) as entries:
                return any(
                    not each.name.startswith(".") and Path(each.name).suffix.lower() in self._known for each in entries
                )
        except OSError:
            return False

    def _list(self, folder: Path) -> _Listing:
        folders, pictures, others, hidden = [], [], Counter[str](), []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = folder / entry.name
                    if entry.name.startswith(".") or entry.name.casefold() in _OF_SYSTEMS:
                        if entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                            hidden.append(path)
                        continue
                    if path.is_dir() if entry.is_symlink() else entry.is_dir():
                        folders.append(path)
                    elif path.suffix.lower() in self._known:
                        pictures.append(path)
                    elif entry.is_symlink() and not path.suffix and not path.exists():
                        raise DataError(f"{path} is a link to a folder that does not exist.", "Remove the link.")
                    else:
                        others[path.suffix.lower() or "file without an extension"] += 1
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {error.strerror or error}.") from error
        return _Listing(sorted(folders), sorted(pictures), others, sorted(hidden))


def _outside(*listings: _Listing) -> Counter[str]:
    """Count the images beside class folders."""
    count = sum(len(each.pictures) for each in listings)
    return Counter({"image outside of class folders": count} if count else {})


def _has(skipped: Mapping[str, int]) -> str:
    """Return a sentence on what is in a folder without images."""
    return f" It has {in_numbers(skipped)}." if skipped else ""


def in_numbers(skipped: Mapping[str, int]) -> str:
    """Return the five most frequent kinds with their numbers: "3 sub-folders, 2 .heic, 1 .csv"."""
    most = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{count} {kind}" if kind.startswith(".") else _counted(count, kind) for kind, count in most)


def _counted(count: int, kind: str) -> str:
    """Format a number of a kind whose first word is the noun: "2 images outside of class folders"."""
    noun, space, rest = kind.partition(" ")
    return f"{many(count, noun)}{space}{rest}"


def _names(folders: Iterable[Path]) -> str:
    return " and ".join(each.name for each in folders)


def _matched(folder: Path, train: Files, test: Files) -> Files:
    """Return the test split under the names and in the order of the training split.

    Accented letters are written in two ways, and archives of a Mac have the other one.

    Raises:
        DataError: the classes are not the same.
    """
    names = {unicodedata.normalize("NFC", name): name for name in train}
    found = {names.get(unicodedata.normalize("NFC", name), name): files for name, files in test.items()}
    unknown = sorted(set(found) ^ set(train))
    if unknown:
        raise DataError(
            f"Classes of {folder} that are not in both train and test: {', '.join(unknown)}.",
            "Add or remove their folders.",
        )
    return {name: found[name] for name in train}


def mirrors(dataset: str) -> bool:
    """Return whether mirrored images of a named dataset or a folder keep their class.

    Raises:
        DataError: it is a folder that cannot be read.
    """
    if not is_folder(dataset):
        return is_mirrored(dataset)
    return keeps_mirrored(read_layout(expand(base_name(dataset))).train)


def folder_name(folder: Path) -> str:
    """Return the name of a folder's dataset, in the characters of a set's name.

    It is the last part of the path that is not a word such as "train" or "data", without accents. Where letters of
    other scripts are lost, digits that stand for the name are added.
    """
    path = folder.resolve()
    own = next((each for each in (path, *path.parents) if each.name.casefold() not in _GENERIC), path)
    if not own.name or own == Path(os.path.expanduser("~")).resolve():  # noqa: PTH111 - works without a home
        own = path
    plain = "".join(each for each in unicodedata.normalize("NFKD", own.name) if not unicodedata.combining(each)).lower()
    name = re.sub(r"[^a-z0-9._-]+|\.\.+", "-", plain).strip("-._")[:40] or "folder"
    if any(each.isalnum() and not each.isascii() for each in plain):
        name = f"{name[:33]}-{hashlib.sha256(own.name.encode(errors='surrogateescape')).hexdigest()[:6]}"
    return f"folder-{name}" if name in CATALOGUE else name
