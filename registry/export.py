"""Export of a set to a file or folder that other programs read.

    safetensors    the stored file, byte for byte
    npz            images, labels, soft_labels if the set has them, class_names, mean, std, the manifest; no object
                   arrays, so that numpy loads it without pickle
    png            one picture, a row per class
    folder         CLASS/000.png …
    parquet        pictures and labels, as `datasets` and pandas read them

In "pixels" space, images are 8-bit, N×H×W×C; values outside 0 … 1 are clipped and counted. In "normalised" space, they
are float32 N×C×H×W, (x − mean) / std, unclipped.
"""

import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.class_folders import class_folders
from registry.errors import KindError, RegistryError, StoreError
from registry.extras import require
from registry.files import WITHOUT_ROOM, write_atomically, write_folder_atomically
from registry.manifest import SET, Manifest
from registry.reader import Reader
from registry.records import StoredSet

if TYPE_CHECKING:
    from registry.tensors import Array

FORMATS: dict[str, tuple[str, ...]] = {
    "safetensors": ("normalised",),
    "npz": ("normalised", "pixels"),
    "png": ("pixels",),
    "folder": ("pixels",),
    "parquet": ("pixels",),
}
"""The formats and the spaces of images in each, the default first."""

Files = Mapping[str, bytes]
"""Contents by path within a folder."""

Writer = Callable[[Mapping[str, "Array"], Manifest], bytes]
"""Returns the content of a file from a set's tensors and manifest."""

Shown = Callable[[Mapping[str, "Array"]], Mapping[str, "Array"]]
"""Returns the tensors that pictures show from those of a set."""

_PICTURE = re.compile(r"\d{3,}\.png")


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        path: the file or folder.
        clipped: number of pixel values outside 0 … 1 that were clipped; 0 in normalised space.
        values: number of all pixel values; 0 for a pool of experts.
        lost: whether the set has soft labels that the format cannot hold.
    """

    path: Path
    clipped: int
    values: int
    lost: bool = False


def default_name(stored: StoredSet, form: str) -> str:
    """Return the default name of an export: "digits-dsa-convnet-ipc1-v2.npz"."""
    name = f"{stored.name.name}-v{stored.version}"
    return name if form == "folder" else f"{name}.{form}"


def require_packages(form: str) -> None:
    """Check that the package that writes a format is installed.

    Raises:
        MissingPackageError: it is not installed.
    """
    if form == "parquet":
        require('`export(..., form="parquet")`', "hub", "pyarrow")


def export(
    store: Reader,
    stored: StoredSet,
    output: Path,
    form: str,
    *,
    space: str | None = None,
    force: bool = False,
    writer: Writer | None = None,
    shown: Shown | None = None,
) -> Exported:
    """Write a set to a file or folder atomically; a pool of experts as safetensors only.

    Args:
        store: the store that has the set.
        stored: the set.
        output: path of the file, or of the folder for "folder".
        form: one of `FORMATS`; or the name of the format that `writer` writes.
        space: "normalised" or "pixels", see `FORMATS`; the format's default if not given.
        force: replace an existing file, or a folder that holds only an earlier export.
        writer: writes a format of another package, in normalised space.
        shown: for a set whose images are not stored as they are to be seen: what png, folder and parquet have. A
            parquet file then has no manifest, which would describe other images.

    Raises:
        ValueError: unknown format, or a space that the format does not have.
        RegistryError: the path exists, or the images cannot be drawn.
        KindError: a pool of experts cannot have this format.
        CorruptError: the set is damaged.
        StoreError: the path is not writable.
        MissingPackageError: see `require_packages`.
    """
    require_packages(form)
    spaces = FORMATS[form] if writer is None else ("normalised",)
    space = space or spaces[0]
    if space not in spaces:
        raise ValueError(f"{form} has no images in {space} space")
    if stored.kind != SET and form != "safetensors":
        raise KindError(
            f"{stored.reference} is a pool of experts, which has no images for {form}.", 'Use `form="safetensors"`.'
        )
    refuse_to_replace(output, form, force=force)
    arrays: Mapping[str, Array] = store.tensors(stored)
    shown = shown if spaces == ("pixels",) else None
    if shown is not None:
        arrays = shown(arrays)
    clipped = 0
    content: bytes | Files
    if writer is not None:
        content = writer(arrays, stored.manifest)
    elif form == "safetensors":
        content = store.file_bytes(stored)
    elif form == "npz" and space == "normalised":
        content = _npz(arrays["images"], arrays, stored.manifest)
    else:
        content, clipped = _as_pictures(form, arrays, stored.manifest, as_stored=shown is None)
    try:
        if isinstance(content, bytes):
            write_atomically(output, content)
        else:
            write_folder_atomically(output, content)
    except StoreError as error:
        raise StoreError(error.message, place_hint(error)) from error
    values = arrays["images"].size if stored.kind == SET else 0
    return Exported(output, clipped, values, form in ("png", "folder") and stored.manifest.has_soft_labels)


def _as_pictures(
    form: str, arrays: Mapping[str, "Array"], manifest: Manifest, *, as_stored: bool
) -> tuple[bytes | Files, int]:
    """Return an export with 8-bit images, and the number of clipped values."""
    from registry.pictures import grid_png, png, to_pixels, to_uint8

    images, labels, info = arrays["images"], arrays["labels"], manifest.dataset
    levels_NHWC, clipped = to_uint8(to_pixels(images, info.mean, info.std))
    if form == "png":
        return grid_png(images, labels, info.mean, info.std), clipped
    if form == "npz":
        return _npz(levels_NHWC, arrays, manifest), clipped
    if form == "parquet":
        from registry.parquet import write_parquet
        from registry.tensors import to_text

        png(levels_NHWC[0])  # raises if the images cannot be drawn
        text = to_text(manifest) if as_stored else None
        return write_parquet(levels_NHWC, labels, info.class_names, arrays.get("soft_labels"), text), clipped
    folders = class_folders(info.class_names)
    digits = max(3, len(str(len(labels) - 1)))
    seen = [0] * len(folders)
    files: dict[str, bytes] = {}
    for label, levels_HWC in zip(labels.tolist(), levels_NHWC, strict=True):
        files[f"{folders[label]}/{seen[label]:0{digits}d}.png"] = png(levels_HWC)
        seen[label] += 1
    return files, clipped


def _npz(images: "Array", arrays: Mapping[str, "Array"], manifest: Manifest) -> bytes:
    """Return the images, labels, constants and manifest of a set as an npz file."""
    import numpy as np

    from registry.tensors import MANIFEST_KEY, to_text

    info = manifest.dataset
    labels = {name: array for name, array in arrays.items() if name != "images"}

    buffer = io.BytesIO()
    content: dict[str, Any] = {
        "images": images,
        **labels,
        "class_names": np.array(info.class_names, np.str_),
        "mean": np.array(info.mean, np.float32),
        "std": np.array(info.std, np.float32),
        MANIFEST_KEY: np.array(to_text(manifest), np.str_),
    }
    np.savez_compressed(buffer, **content)
    return buffer.getvalue()


def refuse_to_replace(path: Path, form: str, *, force: bool) -> None:
    """Refuse an existing path, unless `force` is given and only a file or an earlier export would be replaced.

    Args:
        path: to be written.
        form: "folder", or the name of a format that is one file.
        force: replace a file, or an earlier export.

    Raises:
        RegistryError: the path must not be replaced.
    """
    if not os.path.lexists(path):
        return
    if not force:
        raise RegistryError(f"{path} already exists.", "Replace it with `force=True`, or give another `output`.")
    if form != "folder" and path.is_dir():
        raise RegistryError(f"{path} is a folder.", "Give the name of a file with `output`.")
    if form != "folder" and path.exists() and not path.is_file():
        raise RegistryError(f"{path} is a device or a pipe.", "Give the name of a file with `output`.")
    if form == "folder" and not _is_export(path):
        raise RegistryError(
            f"{path} contains more than an exported set and is not replaced.", "Give another `output`, or remove it."
        )


def place_hint(error: StoreError) -> str:
    """Return what to do if an export could not be written."""
    cause = error.__cause__
    full = isinstance(cause, OSError) and cause.errno in WITHOUT_ROOM
    return f"{'Free space, or choose' if full else 'Choose'} another place with `output`."


def _is_export(folder: Path) -> bool:
    """Return whether a folder holds only folders of numbered pictures, or nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_dir():
            return False
        if not all(_PICTURE.fullmatch(picture.name) and picture.is_file() for picture in path.iterdir()):
            return False
    return True
