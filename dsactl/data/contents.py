"""What an image folder has, by its names and headers: no torch, and no image is decoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsactl.data.layout import in_numbers, read_layout
from dsactl.data.paths import check_folder
from dsactl.data.pictures import READ, Header, Size, read_header
from dsactl.data.views import MAX_SIDE
from dsactl.engine.progress import NO_PROGRESS, Progress


@dataclass(frozen=True)
class FolderContents:
    """What an image folder has.

    Attributes:
        train: number of images of each class; of all images if the folder has no test split of its own.
        test: number of test images of each class; None if some of `train` will be held out.
        headers: of all images.
        notes: sentences on what was taken for what, and on what is skipped.
    """

    train: dict[str, int]
    test: dict[str, int] | None
    headers: tuple[Header, ...]
    notes: tuple[str, ...]

    @property
    def sides(self) -> tuple[int, int]:
        """The shortest and the longest side of all images, in pixels."""
        sides = [side for header in self.headers for side in header.size]
        return min(sides), max(sides)

    @property
    def size(self) -> Size | None:
        """Width and height, if all images have the same."""
        sizes = {header.size for header in self.headers}
        return next(iter(sizes)) if len(sizes) == 1 else None

    @property
    def needs_image_size(self) -> bool:
        """Whether the images must be resized: they differ in size, or are too large."""
        return self.size is None or self.size[0] * self.size[1] > MAX_SIDE**2

    @property
    def channels(self) -> int:
        """3 if any image may have colour, else 1."""
        return max(header.channels for header in self.headers)


def read_contents(folder: Path, progress: Progress = NO_PROGRESS) -> FolderContents:
    """Read the names and headers of a folder's images.

    Args:
        folder: contains `train` and `test`, or the class folders (see `layout.read_layout`).
        progress: the meter, which counts images.

    Raises:
        DataError: no folder, no classes, no images, an unreadable image (by name).
    """
    check_folder(folder)
    layout = read_layout(folder)
    splits = [layout.train] if layout.test is None else [layout.train, layout.test]
    paths = [path for split in splits for files in split.values() for path in files]
    counts = [{name: len(files) for name, files in split.items()} for split in splits]
    skipped = (f"Skipped: {in_numbers(layout.skipped)}. {READ}",) if layout.skipped else ()
    headers = tuple(_headers(paths, progress))
    return FolderContents(counts[0], counts[1] if len(counts) > 1 else None, headers, (*layout.notes, *skipped))


def _headers(paths: list[Path], progress: Progress) -> Iterator[Header]:
    for number, path in enumerate(paths, start=1):
        progress.update(0, len(paths), f"reading the header of image {number} of {len(paths)}")
        yield read_header(path)
