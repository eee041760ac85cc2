"""Reading back of files that this program exported with the set's manifest: the same set, or its 8-bit pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

import registry
from dsactl.errors import DataError, DsactlError, UsageError
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.importing.layouts import experiments
from dsactl.synthetic.preview import preview
from registry.errors import CorruptError
from registry.files import sha256
from registry.importing import read_file
from registry.manifest import parse_json
from registry.pictures import CHANNELS
from registry.tensors import MANIFEST_KEY, Array, decode, describe, encode


def manifest_text(content: Any) -> str | None:
    """Return the text of the manifest in the content of a file; None if it has none."""
    if not isinstance(content, dict) or MANIFEST_KEY not in content:
        return None
    found = content[MANIFEST_KEY]
    return str(found) if isinstance(found, str | np.ndarray) else None


def import_safetensors(path: Path, name: registry.SetName | None, store: registry.Store) -> registry.StoredSet:
    """Store the set, or pool of experts, of a safetensors file of this program, byte for byte.

    Raises:
        registry.RegistryError: it is damaged, or the store cannot be written to.
        DataError: it was changed meanwhile.
        UsageError: a name is needed.
    """
    # Besides the tensors, either the file's bytes or the preview are in memory, not both.
    data = read_file(path)
    digest = sha256(data)
    arrays, manifest = decode(data, str(path))
    if manifest.kind != registry.SET:
        return store.put_file(name or parse_name(path.stem.lower()), data, arrays, manifest)
    del data
    picture = _picture(arrays, manifest)
    data = read_file(path)
    if sha256(data) != digest:
        raise DataError(f"{path} was changed while it was read.", "Import it again.")
    return store.put_file(name or _own_name(manifest, path), data, arrays, manifest, picture)


def import_exported(
    path: Path, content: Any, text: str, name: registry.SetName | None, store: registry.Store
) -> registry.StoredSet:
    """Store the set of an exported npz, parquet or `.pt` file.

    A file in normalised space gives the set itself. One of 8-bit pixels gives the set of those pixels, with the same
    description; it is the same set if its images were of 8 bits from the beginning.

    Args:
        path: the file.
        content: what it has in it, and
        text: the manifest among that.
        name: name of the set; None for the one that its recipe gives.
        store: the target store.

    Raises:
        registry.RegistryError: the content does not match the manifest, or the store cannot be written to.
        DataError: it has no images and labels.
        UsageError: a name is needed.
    """
    where = str(path)
    manifest = parse_json(registry.Manifest, text, where)
    found = experiments(content, where)[0]
    if found.labels is None:
        raise CorruptError(f"{where} has a manifest and no labels.")
    changed = CorruptError(
        f"{where}: its arrays do not match its manifest.",
        f"If you changed them, leave {MANIFEST_KEY!r} out of the file and give `dataset`.",
    )
    given = {"images": found.images, "labels": found.labels, "soft_labels": found.soft_labels}
    try:
        arrays = {key: tensor.numpy() for key, tensor in given.items() if tensor is not None}
    except TypeError:  # numpy has no bfloat16
        raise changed from None
    pixels = arrays["images"].dtype == np.uint8
    if pixels:
        arrays["images"] = _normalised(arrays["images"], manifest, where)
    try:
        tensors = describe(arrays)
    except ValueError as error:
        raise CorruptError(f"{where} does not hold a set: {error}.") from error
    if tensors != manifest.tensors:
        if not pixels:
            raise changed
        values = manifest.model_dump()
        values["tensors"] = {key: info.model_dump() for key, info in tensors.items()}
        values["provenance"]["read back from"] = "8-bit pixels"
        try:
            manifest = registry.Manifest.model_validate(values)
        except ValidationError as error:
            raise CorruptError(f"{where}: its arrays do not match its manifest.") from error
    data = encode(arrays, manifest)
    arrays, manifest = decode(data, where)
    return store.put_file(name or _own_name(manifest, path), data, arrays, manifest, _picture(arrays, manifest))


def _normalised(levels_NHWC: Array, manifest: registry.Manifest, where: str) -> Array:
    """Return 8-bit pixels N×H×W×C in normalised space, float32 N×C×H×W."""
    info = manifest.dataset
    if levels_NHWC.ndim != 4 or levels_NHWC.shape[3] != len(info.mean):
        raise CorruptError(f"{where}: its images do not have the channels of its manifest.")
    mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (info.mean, info.std))
    pixels_NCHW = levels_NHWC.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    normalised: Array = np.ascontiguousarray((pixels_NCHW - mean) / std)
    return normalised


def _picture(arrays: dict[str, Array], manifest: registry.Manifest) -> bytes | None:
    """Return the preview; None for images that have neither one channel nor three."""
    info, images, labels = manifest.dataset, torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    return preview(images, labels, manifest.formation, info.mean, info.std) if images.shape[1] in CHANNELS else None


def _own_name(manifest: registry.Manifest, path: Path) -> registry.SetName:
    """Return the name from the set's recipe, else the file's name."""
    try:
        return registry.parse_name(Recipe.from_dict(manifest.recipe).set_name)
    except (DsactlError, registry.BadNameError):
        return parse_name(path.stem.lower())


def parse_name(text: str) -> registry.SetName:
    """Parse the name that a set would have without another.

    Raises:
        UsageError: it is no name.
    """
    try:
        return registry.parse_name(text)
    except registry.BadNameError:
        raise UsageError(f"{text!r:.200} cannot be the set's name.", "Give one as `name`.") from None
